"""`mobilesplit profile --energy battery` where no figure may be stated: the document says why."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mobilesplit.core.profiles import Profile
from tests.cli.conftest import Home, interrupt


@pytest.fixture(scope="module")
def place(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Home]:
    """A home for all these profiles, with one phone."""
    home = Home(
        tmp_path_factory.mktemp("energy") / "home", Path(request.config.cache.mkdir("mobilesplit"))
    )
    home.path.mkdir()
    yield home
    home.run("emulator", "stop", "--all")
    home.wait_until_nothing_runs()


@pytest.fixture(scope="module")
def cloud(place: Home, tiny_bundle: Path) -> Iterator[str]:
    with place.serving(tiny_bundle) as (process, ready):
        yield ready["url"]
        interrupt(process)


@pytest.fixture(scope="module")
def phone(place: Home) -> dict[str, Any]:
    started: dict[str, Any] = place.json("emulator", "start", "--device", "flagship-2024")
    return started


@pytest.mark.parametrize(
    ("fault", "verdict", "why", "idle_s", "load_s"),
    [
        pytest.param("charging", "charging", "USB powered", 1, 1, id="charging"),
        pytest.param("denied_sysfs", "denied", "Permission denied", 1, 1, id="denied"),
        # A gauge is called frozen after 10 s.
        pytest.param("frozen_gauge", "frozen_gauge", "did not change for", 0.5, 10.5, id="frozen"),
        pytest.param(None, "too_few_readings", "--load-s", 1.5, 3, id="too few readings"),
    ],
)
def test_without_a_trustworthy_gauge_the_document_has_the_verdict_and_latencies_and_the_exit_is_5(
    place: Home,
    phone: dict[str, Any],
    cloud: str,
    tiny_bundle: Path,
    tmp_path: Path,
    fault: str | None,
    verdict: str,
    why: str,
    idle_s: float,
    load_s: float,
) -> None:
    if fault is not None:
        place.json("emulator", "fault", phone["name"], f"{fault}=true")
    out = tmp_path / "profile.json"
    done = place.run(
        "profile", tiny_bundle, "--out", out, "--cloud", cloud, "--cool-max-s", 0,
        "--min-runs", 30, "--max-runs", 30, "--min-s", 0, "--sessions", 2,
        "--energy", "battery", "--idle-s", idle_s, "--load-s", load_s,
    )  # fmt: skip
    if fault is not None:
        place.json("emulator", "fault", phone["name"], f"{fault}=false")
    assert done.returncode == 5, done.stderr
    document = Profile.load(out.read_text(), source="out")
    for cut in document.cuts[1:]:
        assert len(cut.head_ms) >= 30
        assert cut.head_energy_mj is None
        assert cut.energy is not None and not cut.energy.valid
        assert cut.energy.verdict == verdict and why in cut.energy.why
    assert f"No energy is stated, {verdict.replace('_', ' ')}" in done.stdout
