"""Where models/, configs/ and android_harness/ lie: beside the package in a checkout, inside it
in an installed wheel."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).parent


def folder(name: str) -> Path:
    """The folder ``models``, ``configs`` or ``android_harness``."""
    installed = _PACKAGE / "_resources" / name
    return installed if installed.is_dir() else _PACKAGE.parent / name


def named_files(name: str, suffix: str) -> dict[str, Path]:
    """Files of a resource folder by stem, e.g. ``named_files("configs/links", ".yaml")``."""
    found = sorted(folder(name.split("/")[0]).joinpath(*name.split("/")[1:]).glob(f"*{suffix}"))
    return {path.stem: path for path in found if not path.stem.startswith("_")}
