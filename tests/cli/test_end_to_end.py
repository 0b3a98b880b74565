"""The whole line with real processes: the head runs on the phone, the tail in the server."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mobilesplit.core.comparison import Comparison
from tests.cli.conftest import LIMIT_S, Home, interrupt

pytestmark = pytest.mark.e2e

JOBS = 5
"""Of every mode: one to warm up and four for the record."""


def test_the_demo_classifies_the_photo_with_every_part_where_it_is_said_to_be(
    home: Home, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    done = home.run("demo", "--json", "--out", out)
    assert done.returncode == 0, done.stderr
    demo = Comparison.load(done.stdout, source="stdout")
    assert done.stdout.strip() == (out / "demo.json").read_text().strip()

    assert demo.unsplit_top[0].index == 985
    assert demo.unsplit_top[0].label == "daisy"
    for mode in demo.modes:
        assert mode.fell_back is None
        assert [entry.index for entry in mode.top] == [e.index for e in demo.unsplit_top]
        assert mode.max_logit_difference < 1e-3
    # At least one way really splits, whatever the plan was.
    assert any(mode.cut not in ("input", "output") for mode in demo.modes)

    # The phone counts the runner's inferences, the server its tails: neither knows the client.
    assert demo.runner_inferences == JOBS * sum(mode.cut != "input" for mode in demo.modes)
    assert demo.cloud_tail_runs == JOBS * sum(mode.cut != "output" for mode in demo.modes)

    assert demo.profile.device.emulated
    heads = [cut for cut in demo.profile.cuts if cut.id != "input"]
    assert heads[-1].energy is not None and heads[-1].energy.basis == "modelled"
    assert {cut.energy.basis for cut in heads[:-1] if cut.energy} == {"predicted"}
    assert all(cut.head_energy_mj and cut.head_peak_bytes for cut in heads)
    assert all(len(cut.head_ms) >= 6 for cut in heads)
    report = (out / "report.html").read_text()
    assert "https://" not in report.split("<script", 1)[0]
    assert "daisy" in report and "modelled" in report
    home.wait_until_nothing_runs()


def test_the_commands_do_one_by_one_what_the_demo_chains(
    home: Home, tiny_bundle: Path, tmp_path: Path
) -> None:
    phone = home.json("emulator", "start", "--device", "flagship-2024")
    serial = phone["serial"]
    devices = home.json("devices")["devices"]
    assert [(row["serial"], row["emulated"]) for row in devices] == [(serial, True)]
    assert home.json("push", tiny_bundle)["sent_bytes"] > 0
    assert home.json("push", tiny_bundle)["sent_bytes"] == 0

    profile = tmp_path / "profile.json"
    few = ("--min-s", 0, "--min-runs", 5, "--max-runs", 5, "--energy", "none")
    done = home.run("profile", tiny_bundle, "--out", profile, *few, "--json")
    assert done.returncode == 5, done.stderr  # on so few samples nobody should rely
    measured = json.loads(done.stdout)
    assert json.loads(profile.read_text()) == measured
    cut = measured["cuts"][1]["id"]

    plan = tmp_path / "plan.json"
    done = home.run("plan", "-p", profile, "--link", "wifi", "--sla-ms", 1e6, "--out", plan)
    assert done.returncode == 0, done.stderr
    assert json.loads(plan.read_text())["cut"] == "output"

    on_device = home.json("run", tiny_bundle, "--plan", plan)
    with home.serving(tiny_bundle) as (_, server):
        split = home.json("run", tiny_bundle, "--cut", cut, "--cloud", server["url"])
        halved = home.json(
            "run", tiny_bundle, "--cut", cut, "--codec", "fp16", "--cloud", server["url"]
        )
    assert split["fell_back"] is None
    assert split["uplink_bytes"] == 2 * halved["uplink_bytes"] > 0
    for other in (split, halved):
        assert [entry["index"] for entry in other["top"]] == [
            entry["index"] for entry in on_device["top"]
        ]

    html = tmp_path / "profile.html"
    assert home.run("report", profile, "--out", html).returncode == 0
    assert cut in html.read_text()
    counted = home.json("emulator", "list")["phones"][0]
    # The phone's own count: every inference that the journal has was the runner's, and no other.
    journal = [json.loads(line) for line in (tmp_path / "profile.jsonl").read_text().splitlines()]
    firsts = sum(line["record"] == "loaded" for line in journal)
    runs = sum(len(line["latency_ms"]) for line in journal if line["record"] == "runs")
    assert counted["inferences"] == firsts + runs + 3
    assert home.run("emulator", "stop", phone["name"]).returncode == 0
    home.wait_until_nothing_runs()


def test_a_server_that_dies_leaves_the_job_to_the_device(home: Home, tiny_bundle: Path) -> None:
    home.json("emulator", "start", "--device", "flagship-2024")
    cut = json.loads((tiny_bundle / "manifest.json").read_text())["cuts"][1]["cut"]["id"]
    with home.serving(tiny_bundle) as (process, server):
        process.kill()
        process.wait()
        finished = home.json("run", tiny_bundle, "--cut", cut, "--cloud", server["url"])
    assert "Cannot connect" in finished["fell_back"]
    assert finished["head_ms"] > 0
    assert finished["cloud_ms"] == 0
    assert len(finished["top"]) == 5


def test_a_server_that_dies_in_mid_run_leaves_the_job_to_the_device(
    home: Home, tiny_bundle: Path
) -> None:
    home.json("emulator", "start", "--device", "flagship-2024")
    cut = json.loads((tiny_bundle / "manifest.json").read_text())["cuts"][1]["cut"]["id"]
    with home.serving(tiny_bundle) as (process, server):
        slow = home.start(
            "link", "--link", "uplink=20kbps,downlink=1mbps,rtt=1ms", "--to",
            f"127.0.0.1:{server['port']}",
        )  # fmt: skip
        assert slow.stdout is not None
        url = f"ws://127.0.0.1:{json.loads(slow.stdout.readline())['port']}"
        run = home.start("run", tiny_bundle, "--cut", cut, "--cloud", url, "--json")
        # The boundary takes over 10 s on this link: the head has run, the tail cannot have.
        _wait_for_inferences(home)
        process.kill()
        stdout, stderr = run.communicate(timeout=LIMIT_S)
        interrupt(slow)
        slow.communicate(timeout=60)
    assert run.returncode == 0, stderr
    finished = json.loads(stdout)
    # In the middle of the transfer, or of the handshake before it: both travel on the slow link.
    assert "lost" in finished["fell_back"] or "Cannot connect" in finished["fell_back"]
    assert len(finished["top"]) == 5
    assert home.json("emulator", "list")["phones"][0]["inferences"] == 2


def test_a_phone_that_leaves_during_the_profile_is_exit_3_and_writes_nothing(
    home: Home, tiny_bundle: Path, tmp_path: Path
) -> None:
    phone = home.json("emulator", "start", "--device", "budget-2017")
    out = tmp_path / "profile.json"
    process = home.start(
        "profile", tiny_bundle, "--out", out, "--min-s", 60, "--max-s", 60, "--json"
    )
    try:
        _wait_for_inferences(home)
        assert home.run("emulator", "stop", phone["name"]).returncode == 0
        _, stderr = process.communicate(timeout=LIMIT_S)
    finally:
        process.kill()
    assert process.returncode == 3, stderr
    assert phone["serial"] in stderr and len(stderr.strip().splitlines()) == 1, stderr
    assert not out.exists()
    home.wait_until_nothing_runs()


def _wait_for_inferences(home: Home) -> None:
    for _ in range(200):
        if home.json("emulator", "list")["phones"][0]["inferences"] > 0:
            return
    raise AssertionError("the profile never began")


@pytest.mark.parametrize("step", [1, 2, 3, 4, 5, 7, 8])
def test_ctrl_c_at_any_step_ends_with_130_and_leaves_nothing(
    home: Home, tmp_path: Path, step: int
) -> None:
    with home.demo_at_step(step, tmp_path / "out") as (process, said):
        if step == 1:
            home.wait_until_something_runs()
        interrupt(process)
        process.wait(timeout=60)
        lines = said.read_text().strip().splitlines()
    assert process.returncode == 130, lines
    assert lines[-1] == "mobilesplit: interrupted."
    assert not any("Traceback" in line for line in lines)
    home.wait_until_nothing_runs()


def test_a_demo_that_is_killed_takes_everything_with_it(home: Home, tmp_path: Path) -> None:
    with home.demo_at_step(6, tmp_path / "out") as (process, _):
        process.kill()
    home.wait_until_nothing_runs()


def test_a_start_that_is_killed_leaves_no_phone_that_nobody_can_find(home: Home) -> None:
    process = home.start("emulator", "start", "--device", "flagship-2024", "--json")
    home.wait_until_something_runs()
    process.kill()
    process.communicate()
    if not home.json("emulator", "list")["phones"]:  # else it was done before
        home.wait_until_nothing_runs()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_server_ends_well_when_it_is_told_to(
    home: Home, tiny_bundle: Path, number: signal.Signals
) -> None:
    with home.serving(tiny_bundle) as (process, _):
        process.send_signal(number)
        _, stderr = process.communicate(timeout=60)
    assert (process.returncode, stderr) == (0, "")


def failing(home: Home, *words: object) -> subprocess.CompletedProcess[str]:
    done = home.run(*words)
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert done.stderr.startswith("mobilesplit: ")
    assert done.stdout == ""
    return done


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("demo", "--image", "no-such.jpg"), 2, "no-such.jpg: No such file"),
        (("demo", "--image", __file__), 2, "not a JPEG or PNG"),
        (("demo", "--link", "carrier-pigeon"), 2, "Known: 3g, 5g, lan, lte, wifi"),
        (("demo", "--device", "brick"), 2, "Known: budget-2017"),
        (("demo", "--sla-ms", "0"), 2, "--sla-ms"),
        (("trace", "no-such-model"), 2, "Known: densenet-121, efficientnet-lite0"),
        (("export", "no-such-model", "-o", "x"), 2, "Known: densenet-121, efficientnet-lite0"),
        (("serve", "no-such-bundle"), 2, "no-such-bundle"),
        (("devices",), 3, "no device"),
        (("devices", "--serial", "127.0.0.1:1"), 3, "127.0.0.1:1: no device answers"),
        (("plan", "-p", "no-such.json", "--link", "lte", "--sla-ms", "9"), 2, "no-such.json"),
        (("report", __file__), 2, "neither a demo document nor a profile"),
        (("emulator", "stop", "nobody"), 2, "nobody"),
        (("no-such-command",), 2, "no-such-command"),
    ],
)
def test_each_mistake_is_one_line_and_its_exit_code(
    home: Home, words: tuple[str, ...], code: int, says: str
) -> None:
    done = failing(home, *words)
    assert says in done.stderr
    assert done.returncode == code


def test_mistakes_about_a_bundle_are_one_line_too(home: Home, tiny_bundle: Path) -> None:
    phone = home.json("emulator", "start", "--device", "flagship-2024")
    url = "ws://127.0.0.1:1"
    unknown_cut = failing(home, "run", tiny_bundle, "--cut", "nowhere", "--cloud", url)
    assert (unknown_cut.returncode, "Known: " in unknown_cut.stderr) == (2, True)
    no_cut = failing(home, "run", tiny_bundle)
    assert (no_cut.returncode, "--plan" in no_cut.stderr) == (2, True)
    no_server = failing(home, "run", tiny_bundle, "--cut", "input")
    assert (no_server.returncode, "--cloud" in no_server.stderr) == (2, True)
    taken = phone["serial"].split(":")[1]
    port_of_phone = failing(home, "emulator", "start", "--name", "other", "--port", taken)
    assert (port_of_phone.returncode, taken in port_of_phone.stderr) == (1, True)
    port_of_server = failing(home, "serve", tiny_bundle, "--port", taken, "--json")
    assert (port_of_server.returncode, taken in port_of_server.stderr) == (1, True)
    beyond = failing(home, "serve", tiny_bundle, "--host", "0.0.0.0", "--json")
    assert (beyond.returncode, "--insecure" in beyond.stderr) == (2, True)


def test_an_impossible_sla_exits_1_with_the_nearest_miss(home: Home, tmp_path: Path) -> None:
    document: dict[str, Any] = {
        "schema": "mobilesplit.profile/1",
        "model": "hand-written",
        "cuts": [
            {"id": "input", "codecs": {"raw": {"bytes": 600000}}, "head_ms": [0],
             "tail_ms": {"1": [20]}},
            {"id": "output", "codecs": {"raw": {"bytes": 4000}}, "head_ms": [300],
             "tail_ms": {"1": [0]}},
        ],
    }  # fmt: skip
    path = tmp_path / "profile.json"
    path.write_text(json.dumps(document))
    words = ("plan", "-p", path, "--link", "uplink=8mbps,downlink=8mbps,rtt=50ms")
    impossible = home.run(*words, "--sla-ms", 10, "--json")
    assert impossible.returncode == 1
    assert json.loads(impossible.stdout)["feasible"] is False
    possible = home.run(*words, "--sla-ms", 400, "--json")
    assert possible.returncode == 0
    assert json.loads(possible.stdout)["cut"] == "output"


def test_help_answers_without_torch(home: Home) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "mobilesplit", "--help"],
        capture_output=True, text=True, env=home.environment, check=True, timeout=60,
    )  # fmt: skip
    imported = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines()}
    assert not imported & {"torch", "executorch", "numpy", "pydantic", "websockets", "PIL"}
