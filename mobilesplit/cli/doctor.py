"""`mobilesplit doctor`: whether this machine and its devices are ready, and what is missing."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer
from rich.table import Table
from rich.text import Text

from mobilesplit.cli import options
from mobilesplit.cli.console import print_json, stdout
from mobilesplit.cli.device_choice import all_serials, named_serial

if TYPE_CHECKING:
    from mobilesplit.device.doctor.finding import Finding
    from mobilesplit.device.listing import Found

_STYLES = {"ok": "green", "warning": "yellow", "failure": "bold red"}


def doctor(serial: options.Serial = None, as_json: options.Json = False) -> None:
    """Look at this machine, the adb server and every device; nothing is changed.

    Each line is ok, a warning or a failure with the next step. Exits 1 where anything failed.
    """
    sections = []
    for title, lines in _sections(serial):
        if not as_json:
            stdout.print(title, style="bold")
        findings = []
        for finding in lines:  # as they come: some take seconds
            findings.append(finding)
            if not as_json:
                _print(finding)
        sections.append((title, findings))
    levels = [finding.level for _, findings in sections for finding in findings]
    failures, warnings = levels.count("failure"), levels.count("warning")
    if as_json:
        document = {
            "ok": not failures,
            "sections": [
                {"title": title, "findings": [asdict(finding) for finding in findings]}
                for title, findings in sections
            ],
        }
        print_json(json.dumps(document, indent=2))
    else:
        stdout.print(f"{_count(failures, 'failure')}, {_count(warnings, 'warning')}.")
    if failures:
        raise typer.Exit(1)


def _sections(serial: str | None) -> Iterator[tuple[str, Iterable[Finding]]]:
    """Titles and lines; the lines are looked at while they are taken."""
    from mobilesplit.device.doctor.device_checks import look_at_device
    from mobilesplit.device.doctor.finding import warning
    from mobilesplit.device.doctor.host import look_at_host, look_at_server

    yield "This machine", look_at_host()
    server = look_at_server()
    yield "adb server", [server]
    found = _devices(serial, without_server=server.level == "failure")
    for device in found:
        yield device.serial, look_at_device(device)
    if not found:
        yield "Devices", [warning("devices", "none found", "See `mobilesplit devices`.")]


def _devices(serial: str | None, *, without_server: bool) -> list[Found]:
    from mobilesplit.device.connect import USABLE
    from mobilesplit.device.listing import Found, find_devices
    from mobilesplit.emulator.phones import list_phones

    if without_server:  # a line of its own has told why
        found = find_devices([phone.serial for phone in list_phones()], None)
    else:
        found = all_serials()
    named = named_serial(serial)
    if named is None:
        return found
    # One that is not listed may answer all the same, an address say: connecting will tell.
    return [one for one in found if one.serial == named] or [Found(named, USABLE, "tcp")]


def _print(finding: Finding) -> None:
    row = Table.grid(padding=(0, 1))
    row.add_column(width=9)
    row.add_column(width=16)
    row.add_column(overflow="fold")
    says = Text(finding.says)
    if finding.next_step:
        says.append(f"\n{finding.next_step}", style="italic")
    row.add_row(Text(f"  {finding.level}", style=_STYLES[finding.level]), Text(finding.what), says)
    stdout.print(row)


def _count(number: int, noun: str) -> str:
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"
