"""Traces whose events do not fit together are told as such; real ones are read in
tests/android_harness/test_etdump.py."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from mobilesplit.core.errors import InputFileError
from mobilesplit.device import per_operator


def event(name: str, *took_ms: float) -> SimpleNamespace:
    return SimpleNamespace(
        name=name,
        is_delegated_op=False,
        _instruction_id=0,
        perf_data=SimpleNamespace(raw=list(took_ms)),
    )


@pytest.mark.parametrize(
    "events",
    [
        pytest.param([event("native_call_add", 1.0)], id="of no inference"),
        pytest.param([event("Method::execute", 2.0)] * 2, id="of two at once"),
        pytest.param(
            [event("Method::execute", 2.0, 2.0), event("native_call_add", 1.0)], id="one cut off"
        ),
    ],
)
def test_events_that_do_not_fit_together_are_an_unusable_file(
    events: list[SimpleNamespace], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(per_operator, "_methods", lambda _: [events])
    with pytest.raises(InputFileError, match=r"trace.etdump: .*do not fit.*Trace again"):
        per_operator.read_etdump(Path("trace.etdump"))
