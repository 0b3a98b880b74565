"""`mobilesplit devices`: what can be profiled from here."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mobilesplit.cli import options
from mobilesplit.cli.console import human_bytes, print_json, print_table, stdout
from mobilesplit.cli.device_choice import all_serials, named_serial, no_device
from mobilesplit.core.errors import DeviceError

if TYPE_CHECKING:
    from mobilesplit.device.device import Device
    from mobilesplit.device.listing import Found

StartServer = Annotated[
    bool, typer.Option("--start-server", help="Start an adb server where none runs.")
]


def devices(
    serial: options.Serial = None,
    start_server: StartServer = False,
    as_json: options.Json = False,
) -> None:
    """List every device: virtual phones, those of an adb server, and those on USB."""
    from mobilesplit.device.connect import connect

    named = named_serial(serial)
    if named:
        with connect(named) as device:
            rows = [_row(device)]
    else:
        rows = [_look(found) for found in all_serials(start_server=start_server)]
    if as_json:
        print_json(json.dumps({"devices": rows}, indent=2))
        return
    if not rows:
        raise no_device()
    print_table(
        "Devices",
        ("serial", "state", "via", "model", "Android", "ABI", "cores", "memory"),
        [
            (
                row["serial"],
                row["state"] + (" (emulated)" if row.get("emulated") else ""),
                row["transport"],
                row.get("model", "?"),
                row.get("android", "?"),
                row.get("abi", "?"),
                str(row.get("cores", "?")),
                human_bytes(row["memory_bytes"]) if "memory_bytes" in row else "?",
            )
            for row in rows
        ],
        copied="serial",
    )
    for row in rows:
        if "next_step" in row:
            stdout.print(f"{row['serial']}: {row['next_step']}")


def _look(found: Found) -> dict[str, Any]:
    """What is known of a device; one that cannot be used says how to mend that."""
    from mobilesplit.device.connect import connect

    state, next_step = found.state, found.mend
    if found.usable:
        try:
            with connect(found.serial) as device:
                return _row(device)
        except DeviceError as error:
            state, next_step = error.cause or "unusable", f"{error.what} {error.next_step}"
    return {
        "serial": found.serial,
        "state": state,
        "transport": found.transport,
        "emulated": found.emulated,
        "next_step": next_step,
    }


def _row(device: Device) -> dict[str, Any]:
    from mobilesplit.device.facts import read_facts

    facts = read_facts(device).model_dump(mode="json", exclude_none=True)
    return {"state": "device", "transport": device.transport, **facts}
