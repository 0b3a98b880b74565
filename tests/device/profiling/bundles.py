"""Manifests of chains of cuts, without any bundle."""

from __future__ import annotations

from collections.abc import Collection

from mobilesplit.core.cuts import INPUT, OUTPUT, Cut
from mobilesplit.core.manifest import BundleCut, Manifest
from tests.twice import X, make_manifest


def chain_of(heads: int, *, fused: Collection[int] = (), stages: bool = True) -> Manifest:
    """``input``, ``c1``.. and ``output``: ``heads`` heads of equal work."""
    names = [INPUT, *(f"c{n}" for n in range(1, heads)), OUTPUT]
    cuts = tuple(
        BundleCut(
            cut=Cut(id=name, depth=n, boundary=(X,), head_flops=n, tail_flops=heads - n),
            method=f"head_{n}" if n else None,
            stage_method=f"stage_{n}" if n and stages else None,
            first_stage=n,
            max_abs_error=0.0,
            fused=n in fused,
        )
        for n, name in enumerate(names)
    )
    return make_manifest().model_copy(update={"cuts": cuts})
