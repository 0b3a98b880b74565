"""Where a method's time goes, operator by operator: ExecuTorch's trace, read by its Inspector.

The rule: all of an inference is in exactly one row, so that the shares sum to 1.
"""

from __future__ import annotations

import logging
import re
import warnings
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mobilesplit.core.errors import InputFileError
from mobilesplit.core.statistics import median

BETWEEN = "(between operators)"
"""The row of what is in no operator: calling them, handing tensors to a delegate."""

Key = tuple[str, bool]
"""A row's name, and whether a delegate ran it."""

_IDENTIFIER = b"ED00"
"""Of ETDump files (devtools/etdump/etdump_schema_flatcc.fbs); a size may stand before it."""
_HEAD_NBYTES = 12
_INFERENCE = "Method::execute"
_NATIVE = "native_call_"
_DELEGATE = "DELEGATE_CALL"


@dataclass(frozen=True)
class OperatorTime:
    """One kind of operator in one inference. Measured with the trace on, which costs time too."""

    name: str
    """As ExecuTorch or the delegate calls it, or `BETWEEN`."""
    delegated: bool
    """Whether a delegate (XNNPACK) ran it."""
    calls: int
    """How often it runs in an inference; 0 for `BETWEEN`."""
    median_ms: float
    """All its calls of an inference together, the median of the inferences."""
    share: float
    """Of the sum over all rows, 0 to 1."""


def read_etdump(path: Path) -> tuple[OperatorTime, ...]:
    """The rows of a trace that the runner wrote with ``--etdump``, largest share first.

    Of each method the first inference is left out, unless there is no other. Methods of a series
    are added up: one inference runs each of them once. Delegates give their times in whole
    microseconds.

    Raises:
        InputFileError: no trace, or one of no inference.
    """
    rows: dict[Key, tuple[int, float]] = {}
    try:
        for events in _methods(path):
            for key, (calls, sums_ms) in _rows_of(events).items():
                known_calls, known_ms = rows.get(key, (0, 0.0))
                rows[key] = (known_calls + calls, known_ms + median(sums_ms[1:] or sums_ms))
    except ValueError as error:  # inferences cut off, or of differing operators
        why = f"the trace's events do not fit together ({error})"
        raise InputFileError(str(path), why, next_step="Trace again.") from None
    whole_ms = sum(took_ms for _, took_ms in rows.values())
    if not whole_ms:
        raise InputFileError(str(path), "the trace holds no inference")
    table = [
        OperatorTime(name, delegated, calls, took_ms, took_ms / whole_ms)
        for (name, delegated), (calls, took_ms) in rows.items()
    ]
    return tuple(sorted(table, key=lambda row: (-row.share, row.name)))


def _methods(path: Path) -> Iterator[list[Any]]:
    """The Inspector's events of each method that was run."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputFileError(str(path), error.strerror or "cannot be read") from None
    if not data:
        return  # nothing was run
    if _IDENTIFIER not in data[:_HEAD_NBYTES]:  # the Inspector's own reader prints a page about it
        raise InputFileError(str(path), "not an ETDump: it does not start like one")
    with _quiet():
        from executorch.devtools import Inspector

        try:
            blocks = Inspector(etdump_data=data).event_blocks
        except Exception as error:  # it decodes what it is given: anything may come
            why = f"ExecuTorch's Inspector does not read it ({type(error).__name__})"
            raise InputFileError(str(path), why) from None
    for block in blocks:
        events = [event for event in block.events if event.perf_data is not None]
        if any(event.name == _INFERENCE for event in events):
            yield events


def _rows_of(events: list[Any]) -> dict[Key, tuple[int, list[float]]]:
    """The calls of each row, and per inference the ms of all of them together."""
    with_operators = {event._instruction_id for event in events if event.is_delegated_op}
    (whole_ms,) = (event.perf_data.raw for event in events if event.name == _INFERENCE)
    calls: dict[Key, int] = defaultdict(int)
    sums_ms: dict[Key, list[float]] = defaultdict(lambda: [0.0] * len(whole_ms))
    for event in events:
        key = _key_of(event, with_operators)
        if key is not None:
            calls[key] += 1
            sums_ms[key] = _added(sums_ms[key], event.perf_data.raw)
    between_ms = list(whole_ms)
    for row_ms in sums_ms.values():
        between_ms = _added(between_ms, [-ms for ms in row_ms])
    # Two clocks, one of whole microseconds: what is between may come out below nothing.
    sums_ms[BETWEEN, False] = [max(0.0, ms) for ms in between_ms]
    return {key: (calls[key], row_ms) for key, row_ms in sums_ms.items()}


def _key_of(event: Any, with_operators: set[int]) -> Key | None:
    """The row of an event; None for one whose time is in the rows of others."""
    if event.is_delegated_op:
        # XNNPACK numbers the operators of one kind: "Convolution (NHWC, F32) IGEMM #3".
        return re.sub(r" #\d+$", "", event.name), True
    if event.name.startswith(_NATIVE):
        return event.name.removeprefix(_NATIVE), False
    if event.name == _DELEGATE and event._instruction_id not in with_operators:
        return event.delegate_backend_name or _DELEGATE, True
    return None


def _added(some: Sequence[float], others: Sequence[float]) -> list[float]:
    return [a + b for a, b in zip(some, others, strict=True)]


@contextmanager
def _quiet() -> Iterator[None]:
    """No warnings of what the Inspector imports: none is about the trace."""
    disabled = logging.root.manager.disable
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(disabled)
