"""`mobilesplit profile`: heads on the device, tails on the server, into one profile document."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import quote

import typer

from mobilesplit.cli import links, options
from mobilesplit.cli.compare import print_changes
from mobilesplit.cli.console import (
    print_json,
    print_table,
    read_file,
    stderr,
    stdout,
)
from mobilesplit.cli.device_choice import all_serials, choose_serial, no_device
from mobilesplit.cli.durations import parse_duration_s
from mobilesplit.cli.many_devices import Wanted, measure_all
from mobilesplit.cli.samples import choose_sample
from mobilesplit.core.errors import DeviceError, UsageError

if TYPE_CHECKING:
    from mobilesplit.core.links import Link
    from mobilesplit.core.plans import Job
    from mobilesplit.core.profiles import CutProfile, Profile

NOT_TO_BE_TRUSTED = 5
_PRESET_LINKS = ("wifi", "lte", "3g")
_PRESET_SLAS_MS = (100.0, 300.0, 1000.0)


def profile(
    bundle: options.Bundle,
    out: Annotated[Path, typer.Option("--out", "-o", help="The profile document.")] = Path(
        "profile.json"
    ),
    serial: options.Serial = None,
    all_devices: Annotated[
        bool,
        typer.Option("--all-devices", help="Every device there is, in parallel; a file for each."),
    ] = False,
    cloud: options.Cloud = None,
    image: options.Image = None,
    text: options.Text = None,
    cuts: Annotated[
        str | None, typer.Option("--cuts", help="Only these cuts, separated by commas.")
    ] = None,
    min_runs: Annotated[int, typer.Option(min=1, help="Fewest samples of a head.")] = 50,
    max_runs: Annotated[int, typer.Option(min=1, help="Most samples of a head.")] = 300,
    min_s: Annotated[float, typer.Option(min=0, help="Least seconds of measuring.")] = 1.0,
    max_s: Annotated[float, typer.Option(min=0.1, help="Most seconds of measuring.")] = 120.0,
    precision: Annotated[
        float,
        typer.Option(
            min=0.001, help="Enough when every median is known to within this share (0.02: 2 %)."
        ),
    ] = 0.02,
    warmup_runs: Annotated[int, typer.Option(min=0, help="Inferences before any counts.")] = 3,
    sessions: Annotated[
        int, typer.Option(min=1, max=100, help="Runner processes that share the samples.")
    ] = 5,
    budget: Annotated[
        str | None,
        typer.Option(
            "--budget",
            help="Time for the device, e.g. 5min: first every cut, then those a plan depends on.",
        ),
    ] = None,
    link: Annotated[
        str | None,
        typer.Option("--link", help=f"With --budget: the link planned for. {links.HELP}"),
    ] = None,
    sla_ms: Annotated[
        float | None, typer.Option(min=0.001, help="With --budget: the SLA planned for.")
    ] = None,
    threads: options.Threads = 1,
    cores: Annotated[
        Literal["any", "big", "little", "all"],
        typer.Option(help="Cores the runner may use, from the clocks the device states."),
    ] = "any",
    one_by_one: Annotated[
        bool, typer.Option("--one-by-one", help="Measure every head alone, not all in one pass.")
    ] = False,
    energy: Annotated[
        Literal["auto", "rails", "perfetto", "battery", "cmd", "none"],
        typer.Option(help="Where energy is read; auto takes the best that the device shows."),
    ] = "auto",
    energy_cuts: Annotated[
        str | None,
        typer.Option(help="Heads whose energy is measured, by commas. Default: the deepest."),
    ] = None,
    idle_s: Annotated[
        float | None,
        typer.Option(min=0, help="Seconds of idle baseline. Default: 30; 3 of modelled rails."),
    ] = None,
    load_s: Annotated[
        float, typer.Option(min=0.1, help="Most seconds of inferences for one energy.")
    ] = 45.0,
    current_unit: Annotated[
        Literal["ua", "ma"] | None,
        typer.Option(help="Unit of the battery's current. Default: found out."),
    ] = None,
    discharge_sign: Annotated[
        int | None,
        typer.Option(min=-1, max=1, help="Sign of the current while discharging: -1 or 1."),
    ] = None,
    cool_to: Annotated[
        float, typer.Option(help="Wait until skin or battery is at most this warm, °C.")
    ] = 37.0,
    cool_max_s: Annotated[float, typer.Option(min=0, help="Longest wait for that, s.")] = 300.0,
    hold_state: Annotated[
        bool,
        typer.Option(
            help="Keep the clocks steady and, on power, a lit screen lit; restored afterwards."
        ),
    ] = True,
    seed: Annotated[int, typer.Option(help="Of the random order.")] = 0,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on with a profile that was cut off, if there is one."),
    ] = False,
    per_operator: Annotated[
        bool,
        typer.Option("--per-operator", help="Also trace where the deepest head's time goes."),
    ] = False,
    own_runner: options.Runner = None,
    runner_kind: Annotated[
        Literal["mobilesplit", "executor_runner"],
        typer.Option(help="What --runner is: ours, or ExecuTorch's executor_runner."),
    ] = "mobilesplit",
    compare: Annotated[
        Path | None,
        typer.Option("--compare", help="An older profile: say what changed beyond the noise."),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Measure every head of a bundle on a device, and every tail.

    What is measured goes into OUT with the ending .jsonl at once, so that --resume can go on after
    a disconnect. Without --cloud a server is started here, on loopback, for the tails.

    Exits 5 when the figures should not be trusted; the document says why.
    """
    from mobilesplit.core.profile_changes import compare_profiles
    from mobilesplit.core.profiles import Profile
    from mobilesplit.device.profiling.settings import ProfileSettings
    from mobilesplit.export.bundle import load_bundle

    stock_runner = runner_kind == "executor_runner"
    if stock_runner and own_runner is None:
        raise UsageError("--runner-kind executor_runner needs --runner PATH.")
    if stock_runner and (per_operator or budget or cores != "any"):
        raise UsageError(
            "executor_runner knows no --per-operator, --budget or --cores.",
            next_step="Leave them out, or use mobilesplit's own runner.",
        )
    if stock_runner and (energy_cuts or energy not in ("auto", "none")):
        raise UsageError(
            "With executor_runner no energy is measured.",
            next_step="Leave out --energy and --energy-cuts, or use mobilesplit's own runner.",
        )
    if compare and as_json:
        raise UsageError(
            "--json prints the profile, and has no place for what --compare finds.",
            next_step=f"Leave out --compare, then `mobilesplit compare {compare} {out} --json`.",
        )
    loaded = load_bundle(bundle)
    old = Profile.load(read_file(compare), source=str(compare)) if compare else None
    settings = ProfileSettings(
        min_runs=min_runs, max_runs=max(min_runs, max_runs), min_s=min_s, max_s=max_s,
        precision=precision, warmup_runs=warmup_runs, sessions=sessions, threads=threads,
        one_by_one=one_by_one, seed=seed, cool_to_c=cool_to, cool_max_s=cool_max_s,
        hold_state=hold_state, energy=energy, idle_s=idle_s, load_s=load_s,
        current_unit=current_unit, discharge_sign=_sign(discharge_sign),
    )  # fmt: skip
    wanted = Wanted(
        loaded,
        choose_sample(loaded, image, text),
        settings,
        cut_ids=_names(cuts),
        energy_cuts=_names(energy_cuts),
        cores=cores,
        budget_s=parse_duration_s(budget) if budget else None,
        scenarios=_scenarios(link, sla_ms, budget),
        resume=resume,
        per_operator=per_operator,
        own_runner=own_runner,
        stock_runner=stock_runner,
    )
    if all_devices and serial:
        raise UsageError("--serial and --all-devices exclude each other.")
    serials = _usable() if all_devices else [choose_serial(serial)]
    # With --all-devices one that is alone has its own file too: --resume finds it again.
    files = {name: _named_after(out, name) if all_devices else out for name in serials}
    profiles = measure_all(bundle, wanted, cloud, files)
    if as_json:
        made = [json.loads(profile.save()) for profile, _ in profiles]
        print_json(json.dumps(made if all_devices else made[0], indent=2))
    else:
        for one, file in profiles:
            _print_profile(one, file)
            if old is not None:
                stdout.print()
                print_changes(compare_profiles(old, one))
    if len(profiles) < len(serials):  # the others' errors have been shown
        raise typer.Exit(DeviceError.exit_code)
    measured = [cut for one, _ in profiles for cut in one.cuts]
    doubtful = any(cut.verdict and cut.verdict.verdict != "ok" for cut in measured)
    # Without a source being asked for, no energy is no failure: most devices state none.
    refused = energy != "auto" and any(cut.energy and not cut.energy.valid for cut in measured)
    if doubtful or refused:
        raise typer.Exit(NOT_TO_BE_TRUSTED)


def _energy_line(energy: Mapping[str, Any]) -> str:
    """One of the document's ``provenance.energy``."""
    if not energy["energy_valid"]:
        return f"No energy is stated, {energy['verdict'].replace('_', ' ')}: {energy['why']}."
    return (
        f"Energy of {energy['cut']}, {energy['kind']} ({energy['source']}):"
        f" {energy['energy_mj']:.1f} mJ above idle (95 % of these inferences':"
        f" {energy['low_mj']:.1f} to {energy['high_mj']:.1f})"
        + (f"; {energy['why']}." if energy["why"] else ".")
    )


def _usable() -> list[str]:
    """Serials of all devices; those that cannot be used are named and left out."""
    found = all_serials()
    for one in found:
        if not one.usable:
            stderr.print(f"{one.serial}: left out, {one.state}. {one.mend}", soft_wrap=True)
    usable = [one.serial for one in found if one.usable]
    if not usable:
        raise no_device()
    return usable


def _sign(number: int | None) -> Literal[-1, 1] | None:
    if number == 0:
        raise UsageError("--discharge-sign is -1 or 1, not 0.")
    return None if number is None else -1 if number < 0 else 1


def _scenarios(
    link: str | None, sla_ms: float | None, budget: str | None
) -> list[tuple[Link, Job]]:
    """The links and jobs that --budget spends samples for: the user's, else a spread of them."""
    from mobilesplit.core.plans import Job

    if budget is None:
        if link is not None or sla_ms is not None:
            raise UsageError(
                "--link and --sla-ms say what --budget spends its samples for.",
                next_step="Give --budget too, or leave them to `mobilesplit plan`.",
            )
        return []
    chosen = [links.find_link(name) for name in ([link] if link else _PRESET_LINKS)]
    slas_ms = [sla_ms] if sla_ms else _PRESET_SLAS_MS
    return [(one, Job(sla_ms=sla)) for one in chosen for sla in slas_ms]


def _names(text: str | None) -> tuple[str, ...] | None:
    """What stands between commas; None where the option was not given."""
    if text is None:
        return None
    names = tuple(name for name in map(str.strip, text.split(",")) if name)
    if not names:
        raise UsageError(
            "--cuts and --energy-cuts take names separated by commas.",
            next_step="Leave the option out for its default.",
        )
    return names


def _named_after(out: Path, serial: str) -> Path:
    """``profile.json`` of one device among several: ``profile-127.0.0.1_5555.json``; no two
    serials give the same."""
    name = quote(serial, safe=":").replace("_", "__").replace(":", "_")
    return out.with_name(f"{out.stem}-{name}{out.suffix}")


def _print_profile(made: Profile, file: Path) -> None:
    from mobilesplit.report.tables import cuts_table, operators_table

    table = cuts_table(made)
    print_table(table.title, table.columns, table.rows)
    doubted: dict[str, list[CutProfile]] = {}
    for cut in made.cuts:
        if cut.verdict is not None and cut.verdict.verdict != "ok":
            doubted.setdefault(cut.verdict.verdict, []).append(cut)
    for word, cuts in doubted.items():
        names = ", ".join(cut.id for cut in cuts)
        stdout.print(
            f"Not to be trusted, {word.replace('_', ' ')}: {names}. Of {cuts[-1].id}:"
            f" {cuts[-1].verdict.why if cuts[-1].verdict else ''}.",
            soft_wrap=True,
        )
    for remark in made.verdict.remarks if made.verdict else ():
        stdout.print(f"Note: {remark}.", soft_wrap=True)
    for energy in made.provenance.get("energy", ()):
        stdout.print(_energy_line(energy), soft_wrap=True)
    if operators := made.provenance.get("operators"):
        stdout.print()
        slowed = made.device.inference_slowdown > 1
        table = operators_table(made.cuts[-1].id, operators, slowed=slowed)
        print_table(table.title, table.columns, table.rows)
    stderr.print(f"wrote {file}", soft_wrap=True)
