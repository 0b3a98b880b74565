"""What changed between two profiles of one model, and whether it is more than noise. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from mobilesplit.core.profiles import CutProfile, Profile
from mobilesplit.core.statistics import Interval, median, median_interval


@dataclass(frozen=True)
class Change:
    """One head, then and now."""

    cut: str
    """Its cut."""
    old_ms: float
    """Median then."""
    new_ms: float
    """Median now."""
    noise: float | None
    """Largest change, as a share of the old median, at which the two 95 % intervals meet; None
    where one has no interval."""

    @property
    def ratio(self) -> float:
        """``new_ms / old_ms - 1``: 0.1 is a tenth slower; 0 where nothing ran then."""
        return self.new_ms / self.old_ms - 1 if self.old_ms else 0.0

    @property
    def is_real(self) -> bool | None:
        """Whether the change is larger than the noise; None where the noise is not known."""
        return None if self.noise is None else abs(self.ratio) > self.noise


@dataclass(frozen=True)
class Changes:
    """All heads that both profiles have, and what only one has."""

    heads: tuple[Change, ...]
    """In the new profile's order."""
    added: tuple[str, ...]
    """Cuts of the new profile only."""
    removed: tuple[str, ...]
    """Cuts of the old profile only."""
    remarks: tuple[str, ...]
    """What else differs: another device, other settings."""


def compare_profiles(old: Profile, new: Profile) -> Changes:
    """What of ``old`` is otherwise in ``new``."""
    before = {cut.id: cut for cut in old.cuts}
    after = {cut.id: cut for cut in new.cuts}
    heads = [
        _change(before[cut_id], cut)
        for cut_id, cut in after.items()
        if cut_id in before and max(*before[cut_id].head_ms, *cut.head_ms) > 0
    ]
    return Changes(
        heads=tuple(heads),
        added=tuple(cut_id for cut_id in after if cut_id not in before),
        removed=tuple(cut_id for cut_id in before if cut_id not in after),
        remarks=tuple(_remarks(old, new)),
    )


def _change(old: CutProfile, new: CutProfile) -> Change:
    old_ms, new_ms = median(old.head_ms), median(new.head_ms)
    intervals = interval_of(old), interval_of(new)
    noise = None
    if intervals[0] is not None and intervals[1] is not None and old_ms:
        noise = (intervals[0].half_width + intervals[1].half_width) / old_ms
    return Change(new.id, old_ms, new_ms, noise)


def interval_of(cut: CutProfile) -> Interval | None:
    """The interval that the profile states of a head's median, else the one its samples give."""
    if cut.verdict is not None and cut.verdict.interval_ms is not None:
        return Interval(*cut.verdict.interval_ms)
    return median_interval([cut.head_ms])


def _remarks(old: Profile, new: Profile) -> list[str]:
    """Differences that make the figures hard to compare."""
    pairs = (
        ("model", old.model, new.model),
        ("device", old.device.name, new.device.name),
        ("Android version", old.device.android, new.device.android),
        ("program", *(p.provenance.get("bundle_program_sha256") for p in (old, new))),
        ("runner", *(_runner(p) for p in (old, new))),
        *(
            (f"setting {name}", *(_settings(p).get(name) for p in (old, new)))
            for name in sorted(_settings(old).keys() | _settings(new).keys())
        ),
    )
    return [f"another {what}: {was}, now {now}" for what, was, now in pairs if was != now]


def _settings(profile: Profile) -> dict[str, object]:
    return dict(profile.provenance.get("settings") or {})


def _runner(profile: Profile) -> object:
    started = profile.provenance.get("runner") or {}
    return {key: started.get(key) for key in ("runner", "version", "executorch", "threads")}
