"""The HTML report: one file, readable offline; figures are measured, predicted or modelled."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape

import plotly.graph_objects as go
import plotly.io

from mobilesplit.core.comparison import Comparison
from mobilesplit.core.links import Link
from mobilesplit.core.plans import Job, Plan
from mobilesplit.core.profiles import Profile
from mobilesplit.core.statistics import median
from mobilesplit.report.tables import TextTable, classes_table, cuts_table, modes_table
from mobilesplit.schedule.cost import candidates, predict

_COLOURS = {
    "prepare": "#9ecae1",
    "head": "#3182bd",
    "encode": "#c6dbef",
    "uplink": "#fdae6b",
    "network": "#fdae6b",
    "decode": "#a1d99b",
    "tail": "#31a354",
    "cloud": "#31a354",
    "downlink": "#fdd0a2",
}

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:1040px;margin:2em auto;padding:0 1em;
color:#1b1f24}
h1{font-size:1.7em;margin-bottom:.1em} h2{margin-top:2em;border-bottom:1px solid #d0d7de}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums;font-size:14px}
th,td{padding:.3em .6em;border-bottom:1px solid #eaeef2;text-align:right}
table.words td,table.words th{text-align:left}
th:first-child,td:first-child{text-align:left;white-space:pre-line} th{background:#f6f8fa}
caption{text-align:left;font-weight:600;padding:.4em 0}
.reason{background:#ddf4ff;border-left:4px solid #0969da;padding:.7em 1em}
.miss{background:#ffebe9;border-left-color:#cf222e}
.photo{float:right;max-width:220px;max-height:180px;margin:0 0 1em 1em;border-radius:6px}
.sub{color:#57606a} li{margin:.2em 0}
"""


def comparison_html(comparison: Comparison, photo: bytes | None = None) -> str:
    """The report of a demo; ``photo`` (JPEG or PNG bytes) is embedded when given."""
    plan = comparison.plan
    profile = comparison.profile
    kind = "emulated" if profile.device.emulated else "real device"
    picture = ""
    if photo is not None:
        mime = "image/png" if photo.startswith(b"\x89PNG") else "image/jpeg"
        data = base64.b64encode(photo).decode()
        picture = f'<img class="photo" alt="the photo" src="data:{mime};base64,{data}">'
    verdict = "reason" if plan.feasible else "reason miss"
    header = (
        f"<h1>{escape(profile.model)}, cut at {escape(plan.cut)}</h1>"
        f"{picture}<p class=sub>{escape(comparison.image)}"
        f" · {escape(profile.device.name)} ({kind})"
        f" · {escape(comparison.link_requested.name)}"
        f" ({escape(comparison.link_requested.describe())}, shaped)"
        f" · SLA {plan.sla_ms:g} ms at p{plan.percentile * 100:g}</p>"
        f'<p class="{verdict}">{escape(plan.reason)}</p>'
    )
    body = [
        header,
        "<h2>The plan and its alternatives, run</h2>",
        _table(modes_table(comparison)),
        _figure(_modes_figure(comparison), with_library=True),
        _table(classes_table(comparison)),
        f"<p>Counted where it ran: {comparison.runner_inferences} head inferences by the device's"
        f" runner, {comparison.cloud_tail_runs} tails by the server.</p>",
        "<h2>What the planner saw</h2>",
        f"<p>Link, measured through the shaper: {escape(comparison.link_measured.describe())}.</p>",
        _figure(_landscape(profile, comparison.link_measured, plan)),
        _rejected(plan),
        "<h2>Profile</h2>",
        _table(cuts_table(profile)),
        _figure(_samples_figure(profile)),
        "<h2>Notes</h2>",
        _list(comparison.notes),
        "<h2>How it was obtained</h2>",
        _list([f"{name} {version}" for name, version in comparison.versions.items()]),
        _list([f"{name}: {seconds:.1f} s" for name, seconds in comparison.step_seconds.items()]),
    ]
    return _page(f"mobilesplit: {profile.model} at {plan.cut}", body)


def profile_html(profile: Profile) -> str:
    """The report of a profile alone."""
    kind = "emulated" if profile.device.emulated else "measured"
    body = [
        f"<h1>Profile of {escape(profile.model)}</h1>",
        f"<p class=sub>{escape(profile.device.name)} ({kind}), cloud"
        f" {escape(profile.cloud.name)}</p>",
        _table(cuts_table(profile)),
        _figure(_samples_figure(profile), with_library=True),
    ]
    return _page(f"mobilesplit: profile of {profile.model}", body)


def _page(title: str, body: Sequence[str]) -> str:
    return (
        "<!doctype html><html lang=en><head><meta charset=utf-8>"
        '<meta name=viewport content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>"
        + "\n".join(body)
        + "</body></html>\n"
    )


def _table(table: TextTable) -> str:
    head = "".join(f"<th>{escape(column)}</th>" for column in table.columns)
    kind = "" if all(row[-1][:1] in "0123456789?-" for row in table.rows) else " class=words"
    rows = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in table.rows
    )
    return f"<table{kind}><caption>{escape(table.title)}</caption><tr>{head}</tr>{rows}</table>"


def _list(items: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(item)}</li>" for item in items) + "</ul>"


def _rejected(plan: Plan) -> str:
    rows = [(f"{item.cut} ({item.codec})", item.why) for item in plan.rejected]
    return (
        "<details><summary>Every rejected candidate, and why</summary>"
        + _table(TextTable("", ("candidate", "why"), rows))
        + "</details>"
    )


def _figure(figure: go.Figure, *, with_library: bool = False) -> str:
    figure.update_layout(
        template="plotly_white",
        margin={"l": 60, "r": 20, "t": 50, "b": 50},
        legend={"orientation": "h", "y": -0.2},
        font={"family": "system-ui, sans-serif"},
    )
    # Inlined once: the file must open without a network.
    html: str = plotly.io.to_html(
        figure,
        full_html=False,
        include_plotlyjs=with_library,
        config={"displayModeBar": False, "responsive": True},
    )
    return html


def _modes_figure(comparison: Comparison) -> go.Figure:
    names = [f"{mode.mode}<br>{mode.cut}" for mode in comparison.modes]
    figure = go.Figure()
    for term in ("prepare", "head", "network", "cloud"):
        figure.add_bar(
            name=f"{term} (measured)",
            x=names,
            y=[median([getattr(run, f"{term}_ms") for run in m.runs]) for m in comparison.modes],
            marker_color=_COLOURS[term],
        )
    figure.add_scatter(
        name="total p50 (predicted)",
        x=names,
        y=[mode.predicted_p50_ms for mode in comparison.modes],
        mode="markers",
        marker={"symbol": "diamond", "size": 11, "color": "#1b1f24"},
    )
    _sla_line(figure, comparison.plan)
    figure.update_layout(
        barmode="stack", title="Latency of a job: measured medians, predicted total", height=420
    )
    figure.update_yaxes(title="ms")
    return figure


def _landscape(profile: Profile, link: Link, plan: Plan) -> go.Figure:
    """Predicted median of every candidate's terms, in the profile's order."""
    job = Job(sla_ms=plan.sla_ms, percentile=plan.percentile, objective=plan.objective)
    found = [(c, predict(profile, c, link, job)) for c in candidates(profile)]
    names = [
        f"<b>{c.cut.id}, {c.codec}</b>"
        if (c.cut.id, c.codec) == (plan.cut, plan.codec)
        else f"{c.cut.id}, {c.codec}"
        for c, _ in found
    ]
    figure = go.Figure()
    for term in ("prepare", "head", "encode", "uplink", "decode", "tail", "downlink"):
        figure.add_bar(
            name=term,
            x=names,
            y=[prediction.terms[term].p50 for _, prediction in found],
            marker_color=_COLOURS[term],
        )
    figure.add_scatter(
        name=f"total p{plan.percentile * 100:g}",
        x=names,
        y=[prediction.at_percentile_ms for _, prediction in found],
        mode="markers",
        marker={"symbol": "line-ew-open", "size": 14, "color": "#1b1f24"},
    )
    _sla_line(figure, plan)
    figure.update_layout(
        barmode="stack", title="Every cut and codec, predicted (the choice in bold)", height=480
    )
    figure.update_yaxes(title="ms")
    return figure


def _samples_figure(profile: Profile) -> go.Figure:
    figure = go.Figure()
    for cut in profile.cuts:
        if max(cut.head_ms) > 0:
            figure.add_box(
                name=cut.id, y=cut.head_ms, boxpoints="all", marker={"size": 4}, showlegend=False
            )
    kind = "on the emulated device" if profile.device.emulated else "on the device"
    figure.update_layout(title=f"Head latency {kind}: every sample", height=400)
    figure.update_yaxes(title="ms", rangemode="tozero")
    return figure


def _sla_line(figure: go.Figure, plan: Plan) -> None:
    figure.add_hline(
        y=plan.sla_ms,
        line_dash="dash",
        line_color="#cf222e",
        annotation_text=f"SLA {plan.sla_ms:g} ms",
    )
