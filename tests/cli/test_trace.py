"""`mobilesplit trace` as its users see it: one process, a model of their own."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Command, Done
from tests.cli.refused_models import REFUSED

MODELS = (
    """
import torch
from torch import nn

class Chain(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 8), nn.Linear(8, 4))

class Meeting(nn.Module):
    '''Two branches whose meeting makes a large result: wherever it pays to cut, two cross.'''
    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Linear(64, 2), nn.Linear(64, 2)
        self.meet = nn.Bilinear(2, 2, 500)
    def forward(self, x):
        return self.meet(self.left(x), self.right(x))

class Wide(nn.Module):
    '''Six small results are read until the end.'''
    def __init__(self):
        super().__init__()
        self.parts = nn.ModuleList(nn.Linear(64, 2) for _ in range(6))
        self.last = nn.Linear(12, 2)
    def forward(self, x):
        return self.last(torch.cat([part(x) for part in self.parts], 1))

class Growing(nn.Module):
    '''All the work is in front of what is largest: every place is beaten by an end.'''
    def __init__(self):
        super().__init__()
        self.grow = nn.Linear(64, 512)
    def forward(self, x):
        return torch.tanh(self.grow(x)).mean(1, keepdim=True)

class Misfit(nn.Module):
    def forward(self, x):
        return x @ torch.ones(3, 3)  # misfit

class Talks(Chain):
    def forward(self, x):
        import sys
        print("said by the model", file=sys.stderr)
        return super().forward(x)

def example_inputs():
    return (torch.ones(1, 64),)
"""
    + REFUSED
)


Trace = Callable[..., Done]


@pytest.fixture
def trace(tmp_path: Path, command: Command) -> Trace:
    """Runs the command on a class of ``MODELS``."""
    path = tmp_path / "own.py"
    path.write_text(MODELS)
    return lambda name, *options: command("trace", f"{path}:{name}", *options)


def line_of(comment: str) -> int:
    return next(i for i, text in enumerate(MODELS.splitlines(), 1) if f"# {comment}" in text)


@pytest.mark.parametrize(
    ("name", "reason", "comment", "advice"),
    [
        ("Branches", "data-dependent expression", "depends on data", "torch.where or torch.cond"),
        ("Foreign", ".numpy() is not supported", "not torch", "draft_export"),
        ("Misfit", "same reduction dim", "misfit", "example_inputs() fit each other"),
    ],
)
def test_a_model_that_torch_export_refuses_is_told_why_and_where_in_one_line(
    trace: Trace, name: str, reason: str, comment: str, advice: str
) -> None:
    done = trace(name)
    assert done.code == 1
    assert re.fullmatch(r"mobilesplit: [^\n]+\n", done.err)
    assert reason in done.err
    assert f"own.py:{line_of(comment)} in forward" in done.err
    assert advice in done.err
    assert done.out == ""


def test_only_dependence_on_data_is_blamed_on_dependence_on_data(trace: Trace) -> None:
    assert "torch.cond" not in trace("Foreign").err
    assert "draft_export" not in trace("Branches").err


def test_what_the_model_itself_prints_is_not_swallowed(trace: Trace) -> None:
    done = trace("Talks")
    assert done.code == 0
    assert "said by the model" in done.err


def test_the_table_fits_and_says_that_every_cut_is_exact(trace: Trace) -> None:
    done = trace("Chain")
    assert max(map(len, done.out.splitlines())) <= 80
    assert "equals the whole exactly" in done.out
    assert re.search(r"^input +1x64 +256 B +0.0%$", done.out, re.MULTILINE)


def test_a_limit_that_leaves_no_cut_says_which_limit_would(trace: Trace) -> None:
    text = " ".join(trace("Meeting", "--max-boundary-tensors", "1").out.split())
    assert "No worthwhile cut: at least 2 tensors cross" in text
    assert text.endswith("Allow them with --max-boundary-tensors 2.")
    limited = json.loads(trace("Meeting", "--max-boundary-tensors", "1", "--json").out)
    assert (len(limited["cuts"]), limited["num_over_boundary_limit"]) == (2, 2)
    allowed = json.loads(trace("Meeting", "--max-boundary-tensors", "2", "--json").out)
    assert [len(cut["boundary"]) for cut in allowed["cuts"]] == [1, 2, 2, 1]
    assert allowed["notice"] is None


def test_all_is_without_limit_unless_one_is_given_and_then_says_what_is_left_out(
    trace: Trace,
) -> None:
    done = trace("Wide", "--all")
    assert "6 of 1x2" in done.out
    assert "Left out" not in done.out
    limited = " ".join(trace("Wide", "--all", "--max-boundary-tensors", "3").out.split())
    assert re.search(r"Left out for their boundary: \d+ \(more than 3 tensors cross\)\.", limited)


def test_no_worthwhile_cut_at_all_is_said_unless_it_was_asked_for(trace: Trace) -> None:
    assert "No worthwhile cut: nowhere between the ends" in trace("Growing").out
    assert "No worthwhile cut" not in trace("Growing", "--max-cuts", "2").out


def test_operators_and_the_cheapest_division_are_in_the_document(trace: Trace) -> None:
    speeds = ("--max-flow", "--device-gflops", "0.001", "--cloud-gflops", "100", "--link", "3g")
    document = json.loads(trace("Chain", "--operators", *speeds, "--json").out)
    assert [row["target"] for row in document["operators"]] == [
        "aten.linear.default", "aten.relu.default", "aten.linear.default", "aten.linear.default",
    ]  # fmt: skip
    assert document["operators"][0]["num_parameters"] == 64 * 65
    flow = document["max_flow"]
    terms = flow["division"]["predicted_ms"]
    assert terms["total"] == pytest.approx(sum(terms.values()) - terms["total"])
    assert flow["predicted_saved_ms"] == 0  # a chain


def test_the_cheapest_division_is_told_in_words(trace: Trace) -> None:
    speeds = ("--max-flow", "--device-gflops", "0.001", "--cloud-gflops", "100", "--link", "3g")
    text = " ".join(trace("Chain", *speeds).out.split())
    assert re.search(r"maximum flow: predicted [\d.]+ ms", text)
    assert "No division beats the best prefix cut" in text


def test_speeds_without_max_flow_and_the_other_way_round_are_refused(trace: Trace) -> None:
    done = trace("Chain", "--max-flow", "--link", "lte")
    assert done.code == 2
    assert "--device-gflops, --cloud-gflops" in done.err
    done = trace("Chain", "--link", "lte")
    assert done.code == 2
    assert "Add --max-flow" in done.err
