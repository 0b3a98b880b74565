"""Bundles that were exported before, under the digest of all that went into them.

The rule: the key holds everything that can change a bundle - graph, weights, settings, versions,
our own source - so an entry never needs to be asked whether it is still right.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import mobilesplit
from mobilesplit.core.errors import BundleError, InputFileError, UsageError
from mobilesplit.core.manifest import Bundle
from mobilesplit.export.bundle import copy_bundle, load_bundle
from mobilesplit.segment.trace import Graph
from mobilesplit.user_folders import cache_folder

_KEPT_BUNDLES = 8
"""Older entries are deleted: a cache must not fill a disk."""


def versions() -> dict[str, str]:
    """What a bundle depends on beside the model."""
    return {
        "mobilesplit": mobilesplit.__version__,
        "torch": torch.__version__,
        "executorch": version("executorch"),
        "torchao": version("torchao"),
        "python": platform.python_version(),
    }


def default_root() -> Path:
    """Where bundles are kept unless the caller says."""
    return cache_folder() / "bundles"


def key(graph: Graph, settings: Mapping[str, Any]) -> str:
    """SHA-256, in hex, of the graph with its weights, ``settings``, versions and our source."""
    digest = hashlib.sha256()

    def add(*parts: object) -> None:
        digest.update(("\0".join(map(str, parts)) + "\n").encode())

    add(sorted(versions().items()), sorted((name, str(value)) for name, value in settings.items()))
    for file in _own_source():
        add(file.name)
        digest.update(file.read_bytes())
    for node in graph.module.graph.nodes:
        paths = [entry[0] for entry in (node.meta.get("nn_module_stack") or {}).values()]
        value = node.meta.get("val")
        strides = value.stride() if isinstance(value, Tensor) else None
        add(node.op, node.name, node.target, node.args, node.kwargs, value, strides, paths)
    tensors = {**graph.module.state_dict(), **dict(graph.module.named_buffers())}
    constants = {
        name: value for name, value in vars(graph.module).items() if isinstance(value, Tensor)
    }
    for name, tensor in sorted({**tensors, **constants}.items()):
        _add_tensor(digest, name, tensor)
    for index, tensor in enumerate(graph.example_inputs):
        _add_tensor(digest, f"input {index}", tensor)
    return digest.hexdigest()


def fetch(root: Path, name: str, out: Path) -> Bundle | None:
    """Copy the entry ``name`` to ``out``; None if there is none. A damaged one is deleted."""
    entry = root / name
    if not entry.exists():
        return None
    try:
        cached = load_bundle(entry)
    except (BundleError, InputFileError):
        shutil.rmtree(entry, ignore_errors=True)
        return None
    os.utime(entry)  # used now: among the last to be deleted
    return copy_bundle(cached, out)


def store(root: Path, name: str, bundle: Bundle) -> None:
    """Keep a copy of ``bundle`` as the entry ``name``; that it cannot be written is no error."""
    try:
        copy_bundle(bundle, root / name)
        # Names with a dot are bundles that another process is just writing.
        found = [entry for entry in root.iterdir() if not entry.name.startswith(".")]
        entries = sorted(found, key=lambda entry: entry.stat().st_mtime, reverse=True)
    except (BundleError, UsageError, OSError):
        return
    for entry in entries[_KEPT_BUNDLES:]:
        shutil.rmtree(entry, ignore_errors=True)


def _own_source() -> list[Path]:
    package = Path(mobilesplit.__file__).parent
    folders = [package / part for part in ("core", "segment", "export", "wire")]
    return sorted(file for folder in folders for file in folder.glob("*.py"))


def _add_tensor(digest: Any, name: str, tensor: Tensor) -> None:
    digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
    # As bytes whatever the dtype: numpy knows no bfloat16.
    raw = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    digest.update(raw.numpy().data)
