"""`mobilesplit emulator`: virtual phones that any adb client takes for phones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from mobilesplit.cli import options
from mobilesplit.cli.console import human_bytes, print_json, print_table, single_step, stdout

app = typer.Typer(
    help="Virtual phones: emulated Android devices that speak the real adb protocol.",
    invoke_without_command=True,
)

DEFAULT_DEVICE = "budget-2017"


@app.callback()
def _common(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())


@app.command()
def start(
    device: Annotated[
        str, typer.Option("--device", help="Description in configs/devices, or a YAML file.")
    ] = DEFAULT_DEVICE,
    name: Annotated[str | None, typer.Option(help="Its name. Default: the description's.")] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 0,
    seed: Annotated[int, typer.Option(help="Of its battery gauge's noise.")] = 0,
    also_allow: Annotated[
        list[Path] | None,
        typer.Option(
            "--allow",
            exists=True,
            dir_okay=False,
            resolve_path=True,
            help="A program of this computer that the phone may run too, when the same is pushed.",
        ),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Start a virtual phone in the background and print the address to connect to."""
    from mobilesplit.device.runner_build import build_host_runner
    from mobilesplit.emulator.device_description import load_description
    from mobilesplit.emulator.phones import start_phone
    from mobilesplit.emulator.programs import sha256_of

    description = load_description(device)
    allowed = {}
    for program in also_allow or []:
        with program.open("rb") as file:
            allowed[sha256_of(file)] = [str(program)]
    with single_step("start", quiet=as_json) as step:
        step.note("building the runner")
        runner = build_host_runner()
        step.note(f"starting {description.model}")
        phone = start_phone(
            description,
            name=name or description.name,
            port=port,
            allowed_programs={**allowed, runner.sha256: list(runner.argv)},
            seed=seed,
        )
    if as_json:
        print_json(json.dumps({"name": phone.name, "serial": phone.serial, "pid": phone.pid,
                               "runner": runner.kind}))  # fmt: skip
        return
    stdout.print(
        f"{phone.name} ({description.model}, emulated) listens on {phone.serial}\n"
        f"connect with: adb connect {phone.serial}\n"
        f"stop with:    mobilesplit emulator stop {phone.name}"
    )


@app.command()
def devices(as_json: options.Json = False) -> None:
    """List the device descriptions that `start --device` takes; all figures are declared."""
    from mobilesplit.emulator.device_description import known_descriptions, load_description

    found = [load_description(name) for name in known_descriptions()]
    if as_json:
        listing = [description.model_dump(mode="json") for description in found]
        print_json(json.dumps({"devices": listing}, indent=2))
        return
    print_table(
        "Device descriptions (slow-down: factor against one core of this computer, declared)",
        ("name", "Android", "cores", "memory", "inference", "other work"),
        [
            (
                description.name,
                description.android,
                str(description.cores),
                human_bytes(description.memory_bytes),
                f"{description.inference_slowdown:g}x",
                f"{description.general_slowdown:g}x",
            )
            for description in found
        ],
    )


@app.command("list")
def list_(as_json: options.Json = False) -> None:
    """List the virtual phones that run, with what their runners did so far."""
    from mobilesplit.emulator.phones import list_phones, phone_stats

    rows = []
    for phone in list_phones():
        stats = phone_stats(phone.name)
        rows.append(
            {"name": phone.name, "serial": phone.serial, "device": phone.description,
             "pid": phone.pid, "runner_starts": stats["runner_starts"],
             "inferences": stats["inferences"]}
        )  # fmt: skip
    if as_json:
        print_json(json.dumps({"phones": rows}, indent=2))
        return
    print_table(
        "Virtual phones",
        ("name", "serial", "device", "pid", "runner starts", "inferences"),
        [tuple(str(value) for value in row.values()) for row in rows],
    )


@app.command()
def fault(
    name: Annotated[str, typer.Argument(help="The phone's name.")],
    changes: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="What to change; none lists what is wrong."),
    ] = None,
    clear: Annotated[bool, typer.Option("--clear", help="First take all faults away.")] = False,
    as_json: options.Json = False,
) -> None:
    """Make a virtual phone fail as phones do, to see what a client makes of it.

    Faults: charging, denied_sysfs, no_rails, frozen_gauge, thermal_status=0..6, skin_celsius,
    slowdown_factor, free_nbytes, kill_runner_after, disconnect_after_ms, disconnect_after_nbytes,
    refuse_s, wrong_abi, refuse_auth. docs/virtual-phone.md says what each does.
    """
    from mobilesplit.emulator.fault_injection import active_faults, clear_faults, set_faults
    from mobilesplit.emulator.faults import parse_changes

    wanted = parse_changes(changes or [])
    if clear:
        clear_faults(name)
    if wanted:
        set_faults(name, **wanted)
    active = active_faults(name)
    if as_json:
        print_json(json.dumps({"name": name, "faults": active}, indent=2))
        return
    listed = ", ".join(f"{key}={json.dumps(value)}" for key, value in active.items())
    stdout.print(f"{name}: {listed or 'no faults'}", markup=False)


@app.command()
def stop(
    name: Annotated[str | None, typer.Argument(help="The phone's name.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Stop every virtual phone.")] = False,
) -> None:
    """Stop a virtual phone and forget its files."""
    from mobilesplit.core.errors import UsageError
    from mobilesplit.emulator.phones import list_phones, stop_phone

    if (name is None) != every:
        raise UsageError(
            "either a name or --all is needed.", next_step="See `mobilesplit emulator list`."
        )
    names = [phone.name for phone in list_phones()] if every else [str(name)]
    for each in names:
        stop_phone(each)
        stdout.print(f"stopped {each}")
