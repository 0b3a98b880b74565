"""`mobilesplit push`: runner and program onto the device."""

from __future__ import annotations

import json
from dataclasses import asdict

from mobilesplit.cli import options
from mobilesplit.cli.console import human_bytes, print_json, single_step, stdout
from mobilesplit.cli.device_choice import choose_serial


def push(
    bundle: options.Bundle,
    serial: options.Serial = None,
    own_runner: options.Runner = None,
    as_json: options.Json = False,
) -> None:
    """Push the runner and a bundle's program; what is there already is not sent again."""
    from mobilesplit.device.connect import connect
    from mobilesplit.device.exclusive import PUSH_WAIT_S, exclusive
    from mobilesplit.device.facts import read_facts
    from mobilesplit.device.push import push_bundle
    from mobilesplit.device.runner_build import runner_for
    from mobilesplit.export.bundle import load_bundle

    loaded = load_bundle(bundle)
    with (
        single_step("push", quiet=as_json) as step,
        connect(choose_serial(serial)) as device,
    ):
        torchscript = loaded.manifest.format == "torchscript"
        runner = runner_for(device, torchscript=torchscript, chosen=own_runner, progress=step.note)
        with exclusive(read_facts(device), wait_s=PUSH_WAIT_S):
            pushed = push_bundle(device, loaded, runner.path, progress=step.note)
    if as_json:
        print_json(
            json.dumps({"serial": device.serial, "runner_kind": runner.kind, **asdict(pushed)})
        )
        return
    sent = human_bytes(pushed.sent_bytes) if pushed.sent_bytes else "nothing"
    stdout.print(
        f"{device.serial}: {pushed.runner} ({runner.kind}) and {pushed.program}; {sent} sent."
    )
