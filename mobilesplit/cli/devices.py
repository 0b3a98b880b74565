"""`mobilesplit devices`: what can be profiled from here."""

from __future__ import annotations

import json
import os
import socket

from mobilesplit.cli import options
from mobilesplit.cli.console import human_bytes, print_json, print_table
from mobilesplit.core.errors import DeviceError, UsageError


def devices(serial: options.Serial = None, as_json: options.Json = False) -> None:
    """List virtual phones, the device of --serial, and what an adb server knows."""
    from mobilesplit.device.connect import connect
    from mobilesplit.device.facts import read_facts
    from mobilesplit.emulator.phones import list_phones

    named = serial or os.environ.get("ANDROID_SERIAL")
    serials = [named] if named else [phone.serial for phone in list_phones()]
    rows: list[dict[str, object]] = []
    for address in serials:
        try:
            with connect(address) as device:
                facts = read_facts(device)
                rows.append({"state": "device", **facts.model_dump(exclude_none=True)})
        except DeviceError as error:
            if named:
                raise
            rows.append({"state": f"unusable: {error}", "serial": address, "name": "?"})
    if not named:
        rows += _behind_adb_server({str(row["serial"]) for row in rows})
    if as_json:
        print_json(json.dumps({"devices": rows}, indent=2))
        return
    if not rows:
        raise DeviceError(
            "no device found.",
            next_step="Start a virtual phone with `mobilesplit emulator start`, or use"
            " `adb tcpip 5555` and --serial HOST:5555.",
        )
    print_table(
        "Devices",
        ("serial", "state", "model", "Android", "ABI", "cores", "memory"),
        [
            (
                str(row["serial"]),
                str(row["state"]) + (" (emulated)" if row.get("emulated") else ""),
                str(row.get("model", "?")),
                str(row.get("android", "?")),
                str(row.get("abi", "?")),
                str(row.get("cores", "?")),
                human_bytes(float(str(row["memory_bytes"]))) if "memory_bytes" in row else "?",
            )
            for row in rows
        ],
    )


def _behind_adb_server(known: set[str]) -> list[dict[str, object]]:
    """Devices of an adb server that already runs; none is started for this."""
    text = os.environ.get("ANDROID_ADB_SERVER_PORT", "5037")
    if not text.isdecimal():
        raise UsageError(f"ANDROID_ADB_SERVER_PORT is {text!r}, which is no port.")
    port = int(text)
    try:
        socket.create_connection(("127.0.0.1", port), timeout=0.3).close()
    except OSError:
        return []
    import adbutils

    listed = adbutils.AdbClient(host="127.0.0.1", port=port, socket_timeout=3.0).list()
    return [
        {
            "serial": item.serial,
            "state": f"{item.state} (adb server: use `adb tcpip 5555`, then --serial HOST:5555)",
            "name": item.serial,
        }
        for item in listed
        if item.serial not in known
    ]
