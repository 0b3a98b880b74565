"""The report is one file that fetches nothing, says what each figure is, and escapes names."""

from __future__ import annotations

import re

import pytest

from mobilesplit.core.comparison import SCHEMA, Comparison, MeasuredRun, ModeResult, TopClass
from mobilesplit.core.links import Link
from mobilesplit.core.plans import Job
from mobilesplit.core.profiles import DeviceFacts, Profile
from mobilesplit.report.html import comparison_html, profile_html
from mobilesplit.report.tables import classes_table, cuts_table, modes_table
from mobilesplit.schedule.planner import make_plan

HOSTILE = "<script>alert(1)</script>"
LINK = Link(uplink_bps=8e6, downlink_bps=40e6, rtt_ms=40)
PROFILE = Profile.model_validate(
    {
        "schema": "mobilesplit.profile/1",
        "model": HOSTILE,
        "device": DeviceFacts(name=HOSTILE, emulated=True).model_dump(),
        "cuts": [
            {"id": "input", "codecs": {"raw": {"bytes": 600_000}}, "head_ms": [0],
             "tail_ms": {"1": [30]}},
            {"id": "block", "codecs": {"raw": {"bytes": 40_000}}, "head_ms": [120, 130],
             "tail_ms": {"1": [10]}, "head_energy_mj": 50, "head_peak_bytes": 16_000_000},
            {"id": "output", "codecs": {"raw": {"bytes": 4_000}}, "head_ms": [400],
             "tail_ms": {"1": [0]}},
        ],
    }
)  # fmt: skip


@pytest.fixture
def comparison() -> Comparison:
    plan = make_plan(PROFILE, LINK, Job(sla_ms=250))
    top = (TopClass(index=985, label=HOSTILE, score=7.5), TopClass(index=1, label="b", score=2.0))
    run = MeasuredRun(
        prepare_ms=10, head_ms=125, network_ms=81, tail_ms=9, cloud_ms=11, total_ms=227, adb_ms=3
    )
    mode = ModeResult(
        mode="planned", cut="block", codec="raw", runs=(run, run), predicted_p50_ms=213,
        predicted_p95_ms=220, uplink_bytes=40_000, device_mj=None, top=top,
        max_logit_difference=0.0,
    )  # fmt: skip
    return Comparison(
        schema_=SCHEMA, image=HOSTILE, image_bytes=3, link_requested=LINK, link_measured=LINK,
        link_samples={"rtt_ms": (40.0,)}, profile=PROFILE, plan=plan, modes=(mode,),
        unsplit_top=top, runner_inferences=2, cloud_tail_runs=2, step_seconds={"plan": 0.1},
        versions={"torch": "2.13"}, notes=("The phone is emulated.",),
    )  # fmt: skip


def test_the_report_is_whole_without_a_network(comparison: Comparison) -> None:
    html = comparison_html(comparison, b"\xff\xd8not shown")
    assert not re.findall(r"<(?:script|link|img|iframe)[^>]+(?:src|href)=[\"'](?!data:)", html)
    assert "Plotly.newPlot" in html
    assert "data:image/jpeg;base64," in html


def test_names_from_outside_are_escaped_everywhere(comparison: Comparison) -> None:
    for html in (comparison_html(comparison), profile_html(PROFILE)):
        assert HOSTILE not in html
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html


def test_every_table_says_what_its_figures_are(comparison: Comparison) -> None:
    modes = modes_table(comparison)
    assert "measured" in modes.title and "predicted" in modes.title and "modelled" in modes.title
    assert modes.rows == [
        (
            "planned\n  block, raw",
            "10",
            "125",
            "81",
            "9.0",
            "227",
            "213",
            "2/2",
            "11.0",
            "40.0",
            "?",
        )
    ]
    assert "emulated" in cuts_table(PROFILE).title
    assert [row[0] for row in cuts_table(PROFILE).rows] == ["input", "block", "output"]
    assert classes_table(comparison).rows[0][1].startswith("985 ")


def test_a_demo_document_survives_saving(comparison: Comparison) -> None:
    assert Comparison.load(comparison.save(), source="demo.json") == comparison
