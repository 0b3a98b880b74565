from __future__ import annotations

import torch
from torch import Tensor, nn

from mobilesplit.export.programs import compile_heads, method_names
from mobilesplit.export.stages import export_stages, run_stages
from mobilesplit.segment.cuts import find_cuts
from mobilesplit.segment.quiet import quiet, quiet_native
from mobilesplit.segment.trace import trace


class Crossing(nn.Module):
    """The input is needed behind every cut, so each head hands it through, and a table is added."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(4, 4), nn.Linear(4, 4)
        self.register_buffer("table", torch.arange(4.0))

    def forward(self, x: Tensor) -> Tensor:
        return self.two(torch.sin(self.one(x)) + self.table) * x


def test_method_names_are_identifiers_and_unique() -> None:
    names = method_names(["a.b_c", "a.b.c", "output"])
    assert names == ["head_a_b_c", "head_a_b_c_2", "head_output"]


def test_portable_heads_that_hand_the_input_through_compute_their_boundary() -> None:
    inputs = (torch.randn(1, 4),)
    graph = trace(Crossing(), inputs)
    cuts = find_cuts(graph, every=True)
    with quiet():
        stages = export_stages(graph, cuts)
        pte = compile_heads(stages, method_names(cut.id for cut in cuts[1:]), "portable")
    assert any("x" in {spec.name for spec in cut.boundary} for cut in cuts[1:-1])
    with quiet_native():
        from executorch.runtime import Runtime

        program = Runtime.get().load_program(pte)
        for depth, method in enumerate(method_names(cut.id for cut in cuts[1:])):
            boundary = program.load_method(method).execute(list(inputs))
            for value, expected in zip(
                boundary, run_stages(stages[: depth + 1], inputs), strict=True
            ):
                assert torch.allclose(value, expected, atol=1e-6)
