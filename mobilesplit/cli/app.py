"""All commands in one Typer app, and what becomes of errors: one line on stderr, one exit code."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType
from typing import NoReturn

import typer
from typer.exceptions import TyperException

from mobilesplit import __version__
from mobilesplit.cli import (
    compare,
    demo,
    devices,
    doctor,
    emulator,
    export,
    link,
    models,
    plan,
    profile,
    push,
    report,
    runner,
    serve,
    trace,
)
from mobilesplit.cli import run as run_command
from mobilesplit.core.errors import MobilesplitError

INTERRUPTED = 130
TERMINATED = 143

app = typer.Typer(
    name="mobilesplit",
    help="Cut a PyTorch model between an Android phone and the cloud: measure, plan, run.",
    invoke_without_command=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=(
        "Exit codes: 0 ok, 1 failed, 2 usage, 3 no usable device, 4 runner failed, "
        "5 measured but not to be trusted, 130 interrupted."
    ),
)
app.command("demo")(demo.demo)
app.command("models")(models.models)
app.command("trace")(trace.trace)
app.command("export")(export.export)
app.command("doctor")(doctor.doctor)
app.command("devices")(devices.devices)
app.command("push")(push.push)
app.command("profile")(profile.profile)
app.command("compare")(compare.compare)
app.command("serve")(serve.serve)
app.command("plan")(plan.plan)
app.command("run")(run_command.run)
app.command("report")(report.report)
app.command("link")(link.link)
app.add_typer(emulator.app, name="emulator")
app.add_typer(runner.app, name="runner")


def _version(wanted: bool) -> None:
    if wanted:
        print(f"mobilesplit {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    context: typer.Context,
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version and exit."
    ),
) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())


def run() -> NoReturn:
    """Run the command of ``sys.argv`` and exit with its code."""
    signal.signal(signal.SIGTERM, _terminate)
    try:
        code = app(standalone_mode=False)
        if code == INTERRUPTED:  # Typer turns KeyboardInterrupt into this code
            _say("interrupted.")
    except KeyboardInterrupt:
        _say("interrupted.")
        code = INTERRUPTED
    except TyperException as error:
        _say(f"{error.format_message().rstrip('.')}. See --help.")
        code = error.exit_code
    except Exception as error:
        code = _say_error(error)
    if code == INTERRUPTED:
        # All is unwound by now. CPython would still end by SIGINT instead of with our code when
        # the interrupt fell into an exec() of a string, which importing torch does a lot.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code or 0)


def _say_error(error: Exception) -> int:
    """Its line on stderr, if anyone is to be told; its exit code."""
    if _comes_of_an_interrupt(error):
        _say("interrupted.")
        return INTERRUPTED
    if isinstance(error, MobilesplitError):
        _say(str(error))
        return error.exit_code
    if isinstance(error, BrokenPipeError):
        # The reader of our output (head, say) has left: nothing more to tell anyone.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    if os.environ.get("MOBILESPLIT_DEBUG"):
        raise error
    text = " ".join(str(error).split())[:300]
    _say(
        f"unexpected {type(error).__name__}: {text}."
        " Set MOBILESPLIT_DEBUG=1 for the traceback, and please report it."
    )
    return 1


def _comes_of_an_interrupt(error: BaseException) -> bool:
    """Whether unwinding from an interrupt is what failed (a half-written archive of torch, say)."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, KeyboardInterrupt):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


def _say(text: str) -> None:
    print(f"mobilesplit: {text}", file=sys.stderr)


def _terminate(_signum: int, _frame: FrameType | None) -> None:
    # Unwinds through every `with`, so that children end and device state is restored.
    raise SystemExit(TERMINATED)
