"""How commands talk: tables or one JSON document on stdout, progress on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.table import Table

from mobilesplit.core.errors import InputFileError

_LOG_EVERY_S = 10.0

stderr = Console(stderr=True, highlight=False, soft_wrap=False)
stdout = Console(highlight=False)


class Progress:
    """Numbered steps on stderr, each with its time; details live on one line on a terminal."""

    def __init__(self, num_steps: int, *, quiet: bool = False) -> None:
        self._num_steps = num_steps
        self._quiet = quiet
        self._done = 0
        self.seconds: dict[str, float] = {}

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        """Time a step; its last ``note`` stands beside it when it is done."""
        self._done += 1
        label = f"[{self._done}/{self._num_steps}] {title}"
        step = Step(label)
        started_s = time.monotonic()
        if self._quiet:
            yield step
        elif stderr.is_terminal:
            with stderr.status(label) as status:
                step.show = status.update
                yield step
        else:
            yield step
        self.seconds[title] = time.monotonic() - started_s
        if not self._quiet:
            text = f"{label}: {step.text}" if step.text else label
            stderr.print(f"{text} [dim]({self.seconds[title]:.1f} s)[/dim]", soft_wrap=True)


class Step:
    """A step under way."""

    def __init__(self, label: str) -> None:
        self._label = label
        self.text = ""
        self.show: Callable[[str], None] = lambda _text: None

    def note(self, text: str) -> None:
        """Say what is being done, or, last, what came of it."""
        self.text = text
        self.show(f"{self._label}: {text}")


@contextmanager
def single_step(title: str, *, quiet: bool = False) -> Iterator[Step]:
    """The progress of a command that has one step only; into a file a line now and then."""
    step = Step(title)
    if quiet:
        yield step
    elif stderr.is_terminal:
        with stderr.status(title) as status:
            step.show = status.update
            yield step
    else:
        step.show = _now_and_then()
        yield step


def _now_and_then() -> Callable[[str], None]:
    """Prints what it is given, but no more often than a log wants to be read."""
    shown_s = time.monotonic()

    def show(text: str) -> None:
        nonlocal shown_s
        if time.monotonic() - shown_s >= _LOG_EVERY_S:
            shown_s = time.monotonic()
            stderr.print(text, soft_wrap=True)

    return show


def print_table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], *, copied: str = ""
) -> None:
    """A table on stdout: columns of figures to the right, words to the left. The column called
    ``copied`` is never broken: people copy from it."""
    table = Table(box=None, pad_edge=False)
    for index, column in enumerate(columns):
        figures = index > 0 and all(row[index][:1] in "0123456789-?~" for row in rows)
        justify: Literal["right", "left"] = "right" if figures else "left"
        table.add_column(column, justify=justify, overflow="fold", no_wrap=column == copied)
    for row in rows:
        table.add_row(*row)
    stdout.print(title, style="bold")  # a title of the table's would wrap to the table's width
    stdout.print(table)


def print_json(text: str) -> None:
    """The one JSON document of a command, on stdout."""
    sys.stdout.write(text if text.endswith("\n") else text + "\n")
    sys.stdout.flush()


def write_file(path: Path, text: str) -> None:
    """Write whole or not at all. Raises InputFileError when it cannot be written."""
    partial = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(text)
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise InputFileError(str(path), f"cannot be written ({error.strerror})") from None


def read_file(path: Path, *, next_step: str = "") -> bytes:
    """A file's bytes. Raises InputFileError when it is missing or unreadable."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputFileError(str(path), f"{error.strerror}", next_step=next_step) from None


def human_bytes(nbytes: float) -> str:
    """``151 KB``, ``18.8 MB`` (powers of ten)."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("KB", 1e3)):
        if nbytes >= size:
            return f"{nbytes / size:.3g} {unit}"
    return f"{nbytes:.0f} B"
