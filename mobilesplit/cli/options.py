"""Options that several commands share, declared once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Bundle = Annotated[Path, typer.Argument(help="Folder that `mobilesplit export` wrote.")]
Serial = Annotated[
    str | None,
    typer.Option(
        "--serial",
        "-s",
        help="Device as adb shows it, or HOST:PORT. Default: $ANDROID_SERIAL, or the only one.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
Image = Annotated[
    Path | None,
    typer.Option("--image", help="A JPEG or PNG photo. Default: scikit-learn's flower.jpg."),
]
Text = Annotated[
    str | None,
    typer.Option("--text", help="A text, for a model that takes one. Default: its golden input."),
]
Cloud = Annotated[
    str | None, typer.Option("--cloud", help="Server, e.g. ws://127.0.0.1:8765 (`serve` says).")
]
Threads = Annotated[
    int, typer.Option("--threads", min=1, max=64, help="Threads of the runner on the device.")
]
Runner = Annotated[
    Path | None,
    typer.Option(
        "--runner",
        help="A runner of your own for the device. Default: this computer's for a virtual phone, "
        "else what tools/build_android_runner built.",
    ),
]
MaxBoundaryTensors = Annotated[
    int,
    typer.Option("--max-boundary-tensors", min=1, help="Leave out cuts where more tensors cross."),
]
Weights = Annotated[
    Path | None,
    typer.Option(
        "--weights",
        help="Real weights: a .safetensors file, or a folder that transformers saved.",
    ),
]
