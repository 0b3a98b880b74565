"""The tables of the demo, as rows of text: the terminal and the HTML report show the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from mobilesplit.core.comparison import Comparison, ModeResult
from mobilesplit.core.profile_changes import Changes
from mobilesplit.core.profiles import CutProfile, Profile
from mobilesplit.core.statistics import median, percentile


class TextTable(NamedTuple):
    """A table: what it is, its columns, its cells."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


def modes_table(comparison: Comparison) -> TextTable:
    """Where each mode's time went, cloud time, bytes and energy."""
    count = len(comparison.modes[0].runs)
    emulated = comparison.profile.device.emulated
    energy = "modelled" if emulated else "CPU measured, radio modelled"
    return TextTable(
        f"Medians of {count} jobs, ms, measured{' (phone emulated)' if emulated else ''};"
        f" pred.: total as predicted; SLA: jobs that kept it; KB: sent; mJ: {energy}",
        (
            "mode",
            "prep",
            "head",
            "network",
            "tail",
            "total",
            "pred.",
            "SLA",
            "cloud",
            "KB",
            "mJ",
        ),
        [_mode_row(mode, comparison.plan.sla_ms) for mode in comparison.modes],
    )


def _mode_row(mode: ModeResult, sla_ms: float) -> tuple[str, ...]:
    def middle(name: str) -> float:
        return median([getattr(run, f"{name}_ms") for run in mode.runs])

    return (
        f"{mode.mode}\n  {mode.cut}, {mode.codec}",
        f"{middle('prepare'):.0f}",
        f"{middle('head'):.0f}",
        f"{middle('network'):.0f}",
        f"{middle('tail'):.1f}",
        f"{middle('total'):.0f}",
        f"{mode.predicted_p50_ms:.0f}",
        f"{sum(run.total_ms <= sla_ms for run in mode.runs)}/{len(mode.runs)}",
        f"{middle('cloud'):.1f}",
        f"{mode.uplink_bytes / 1e3:.1f}",
        "?" if mode.device_mj is None else f"{mode.device_mj:.0f}",
    )


def classes_table(comparison: Comparison) -> TextTable:
    """The planned job's best classes next to the unsplit model's."""
    planned = comparison.modes[0].top
    rows = []
    for rank, (ours, whole) in enumerate(zip(planned, comparison.unsplit_top, strict=True), 1):
        rows.append(
            (
                f"{rank}",
                f"{ours.index} {ours.label} {ours.score:.3f}",
                f"{whole.index} {whole.label} {whole.score:.3f}",
            )
        )
    return TextTable(
        f"Top classes (class, name, logit); {comparison.modes[0].mode} against the whole model",
        ("", "cut", "unsplit"),
        rows,
    )


def cuts_table(profile: Profile) -> TextTable:
    """Every profiled cut: boundary, head, tail, energy, memory."""
    kind = "measured, phone emulated" if profile.device.emulated else "measured"
    alone = profile.provenance.get("peak_measured_alone")
    return TextTable(
        f"Profile of {profile.model} on {profile.device.name}, ms ({kind}; ±: 95 % interval of the"
        f" median), cloud {profile.cloud.name}; mJ"
        f" {'modelled' if profile.device.emulated else 'measured'}; MB: peak, measured;"
        " ~: predicted",
        ("cut", "raw KB", "head p50", "±", "p95 ms", "n", "tail", "mJ", "MB", "verdict"),
        [_cut_row(cut, alone is None or cut.id in alone) for cut in profile.cuts],
    )


def _cut_row(cut: CutProfile, own_peak: bool) -> tuple[str, ...]:
    predicted = "~" if cut.energy is not None and cut.energy.basis == "predicted" else ""
    raw = cut.codecs.get("raw")
    tail: Sequence[float] = cut.tail_ms["1"]
    return (
        cut.id,
        f"{raw.bytes / 1e3:.1f}" if raw else "-",
        f"{median(cut.head_ms):.1f}",
        _plus_minus(cut),
        f"{percentile(cut.head_ms, 0.95):.1f}",
        f"{len(cut.head_ms)}",
        f"{median(tail):.2f}",
        "-" if cut.head_energy_mj is None else f"{predicted}{cut.head_energy_mj:.0f}",
        "-"
        if cut.head_peak_bytes is None
        else f"{'' if own_peak else '~'}{cut.head_peak_bytes / 1e6:.0f}",
        "-" if cut.verdict is None else cut.verdict.verdict.replace("_", " "),
    )


def _plus_minus(cut: CutProfile) -> str:
    if cut.verdict is None or cut.verdict.interval_ms is None:
        return "-"
    low_ms, high_ms = cut.verdict.interval_ms
    return f"{(high_ms - low_ms) / 2:.1f}"


def operators_table(cut: str, operators: Sequence[Mapping[str, Any]], *, slowed: bool) -> TextTable:
    """Where a head's time goes: rows of a profile's ``provenance.operators``. ``slowed``: on a
    virtual phone, whose slow-down ExecuTorch's trace does not know."""
    return TextTable(
        f"Operators of the head at {cut}, medians in ms with the trace on, which costs time too"
        + ("; at this computer's speed, without the phone's slow-down" if slowed else ""),
        ("operator", "by", "calls", "ms", "share"),
        [
            (
                str(row["name"]),
                "delegate" if row["delegated"] else "kernel",
                str(row["calls"]),
                f"{row['median_ms']:.3f}",
                f"{row['share']:.1%}",
            )
            for row in operators
        ],
    )


def changes_table(changes: Changes) -> TextTable:
    """Every head then and now, and whether the change is more than noise."""
    answers = {True: "yes", False: "no", None: "too few samples to tell"}
    return TextTable(
        "Changed since, medians in ms; noise: what the two 95 % intervals explain",
        ("cut", "then", "now", "change", "noise", "real"),
        [
            (
                change.cut,
                f"{change.old_ms:.2f}",
                f"{change.new_ms:.2f}",
                f"{change.ratio:+.1%}",
                "-" if change.noise is None else f"{change.noise:.1%}",
                answers[change.is_real],
            )
            for change in changes.heads
        ],
    )
