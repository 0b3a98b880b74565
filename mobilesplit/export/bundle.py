"""Bundles on disk, written and read. Documented in docs/bundle.md.

The rule: a bundle is there whole or not at all, and nothing of it is used before every file's
digest was checked. No torch here: whoever only reads a bundle does not wait for it.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath

from mobilesplit.core.cuts import INPUT, OUTPUT
from mobilesplit.core.errors import BundleError, InputFileError, UsageError
from mobilesplit.core.manifest import SCHEMA, Bundle, BundleCut, Manifest, TextInput

MANIFEST = "manifest.json"
Writer = Callable[[Path], object]
"""Writes a file to the path that it is given."""
_MAX_MANIFEST_BYTES = 16 << 20
_AGAIN = "Run `mobilesplit export` again."


def write_bundle(out: Path, manifest: Manifest, files: Mapping[str, Writer]) -> Bundle:
    """Write ``files`` and the manifest, with their digests, as the folder ``out``.

    Args:
        out: replaced if it is a bundle already; until everything is written it is as it was.
        manifest: its ``sha256`` is filled in here.
        files: by name in the bundle (``stages/00.pt2``), who writes it to the path it is given.

    Raises:
        UsageError: ``out`` is something other than a bundle or an empty folder.
        BundleError: it cannot be written; nothing is left behind.
    """

    def fill(folder: Path) -> Manifest:
        digests = {}
        for name, write in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            write(path)
            digests[name] = file_sha256(path)
        complete = manifest.model_copy(update={"sha256": digests})
        (folder / MANIFEST).write_text(complete.save(), encoding="utf-8")
        return complete

    return Bundle(root=out, manifest=_replace(out, fill))


def copy_bundle(bundle: Bundle, out: Path) -> Bundle:
    """A copy of a loaded bundle as the folder ``out``, as ``write_bundle`` writes it.

    Raises:
        UsageError, BundleError: as ``write_bundle``.
    """

    def fill(folder: Path) -> Manifest:
        for name in (*bundle.manifest.sha256, MANIFEST):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(bundle.path(name), folder / name)
        return bundle.manifest

    return Bundle(root=out, manifest=_replace(out, fill))


def check_target(out: Path) -> None:
    """Whether a bundle may be written to ``out``: a free path, an empty folder or a bundle.

    Raises:
        UsageError: it is anything else, which is never deleted.
    """
    if not out.exists() and not out.is_symlink():
        return
    if out.is_symlink() or not out.is_dir():
        raise UsageError(f"{out} is not a folder.", next_step="Choose another --out.")
    if any(out.iterdir()) and not _looks_like_a_bundle(out):
        raise UsageError(
            f"{out} holds something other than a bundle.", next_step="Choose another --out."
        )


def load_bundle(path: Path) -> Bundle:
    """The bundle at ``path``, every file checked against its digest.

    Raises:
        InputFileError: there is none, or its manifest is not one.
        BundleError: a file is missing, was changed, or lies outside the folder.
    """
    manifest = _read_manifest(path)
    for name in _named_files(manifest):
        if name not in manifest.sha256:
            raise BundleError(f"{path}: {name} has no digest in {MANIFEST}.", next_step=_AGAIN)
    _check_cuts(path, manifest)
    for name, digest in manifest.sha256.items():
        file = _inside(path, name)
        if not file.is_file():
            raise BundleError(f"{path}: {name} is missing.", next_step=_AGAIN)
        if file_sha256(file) != digest:
            raise BundleError(f"{path}: {name} is not what was exported.", next_step=_AGAIN)
    return Bundle(root=path, manifest=manifest)


def _named_files(manifest: Manifest) -> list[str]:
    """Every file that the manifest refers to."""
    names = [*manifest.stages, manifest.golden_input, manifest.golden_output]
    if manifest.program is not None:
        names.append(manifest.program)
    if isinstance(manifest.preprocess, TextInput):
        names.append(manifest.preprocess.tokenizer)
    for entry in manifest.cuts:
        names += entry.scripts
    return names


def _read_manifest(path: Path) -> Manifest:
    file = path / MANIFEST
    try:
        if file.stat().st_size > _MAX_MANIFEST_BYTES:
            raise InputFileError(str(file), "it is too large for a manifest", next_step=_AGAIN)
        data = file.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise InputFileError(
            str(path), "there is no bundle here", next_step="Run `mobilesplit export` first."
        ) from None
    except OSError as error:
        raise InputFileError(str(file), error.strerror or str(error), next_step=_AGAIN) from None
    try:
        return Manifest.load(data, source=str(file))
    except InputFileError as error:
        raise InputFileError(error.path, error.why, next_step=_AGAIN) from None


def _check_cuts(path: Path, manifest: Manifest) -> None:
    """The cuts are in order from ``input`` to ``output``, and stage k starts at cut k."""
    ids = [entry.cut.id for entry in manifest.cuts]
    ordered = (
        len(ids) >= 2
        and (ids[0], ids[-1]) == (INPUT, OUTPUT)
        and len(set(ids)) == len(ids) == len(manifest.stages) + 1
        and all(entry.first_stage == index for index, entry in enumerate(manifest.cuts))
        and all(_has_head(manifest, entry) != (entry.cut.id == INPUT) for entry in manifest.cuts)
    )
    if not ordered:
        raise BundleError(f"{path}: its cuts and stages do not fit together.", next_step=_AGAIN)


def _has_head(manifest: Manifest, entry: BundleCut) -> bool:
    if manifest.format == "torchscript":
        return bool(entry.scripts)
    return entry.method is not None and manifest.program is not None


def _inside(root: Path, name: str) -> Path:
    """``root/name``; refuses what would leave the folder, by its name or through a link."""
    pure = PurePosixPath(name)
    leaves = pure.is_absolute() or ".." in pure.parts or "\\" in name or "\0" in name
    if leaves or not (root / name).resolve().is_relative_to(root.resolve()):
        raise BundleError(
            f"{root}: {name!r} leaves the folder.", next_step="Do not use this bundle."
        )
    return root / name


def _replace(out: Path, fill: Callable[[Path], Manifest]) -> Manifest:
    """Fill a new folder beside ``out`` and put it in the place of ``out`` in one rename."""
    check_target(out)
    folder: Path | None = None
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{out.name}.new-", dir=out.parent))
        folder.chmod(0o755)
        manifest = fill(folder)
        _swap(folder, out)
        return manifest
    except OSError as error:
        why = error.strerror or str(error)
        raise BundleError(
            f"The bundle {out} cannot be written: {why}.",
            next_step="Free some space or choose another --out.",
        ) from error
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def _swap(folder: Path, out: Path) -> None:
    """``folder`` becomes ``out``; what was there is deleted only once it has."""
    if not out.exists():
        folder.rename(out)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{out.name}.old-", dir=out.parent))
    try:
        out.rename(old)  # onto an empty folder, which POSIX replaces
        try:
            folder.rename(out)
        except BaseException:  # an interrupt too: the old bundle comes back
            old.rename(out)
            raise
    finally:
        shutil.rmtree(old, ignore_errors=True)


def _looks_like_a_bundle(folder: Path) -> bool:
    try:
        schema = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["schema"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return str(schema).split("/")[0] == SCHEMA.split("/")[0]


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
