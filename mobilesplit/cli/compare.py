"""`mobilesplit compare`: what changed between two profiles, and whether it is more than noise."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mobilesplit.cli import options
from mobilesplit.cli.console import print_json, print_table, read_file, stdout

if TYPE_CHECKING:
    from mobilesplit.core.profile_changes import Changes


def compare(
    old: Annotated[Path, typer.Argument(help="A profile document.")],
    new: Annotated[Path, typer.Argument(help="Another one of the same model.")],
    as_json: options.Json = False,
) -> None:
    """Say which heads became faster or slower, and whether the change is larger than the noise.

    Exits 1 when a head became slower beyond the noise, so that CI can watch for it.
    """
    from mobilesplit.core.profile_changes import compare_profiles
    from mobilesplit.core.profiles import Profile

    documents = [Profile.load(read_file(path), source=str(path)) for path in (old, new)]
    changes = compare_profiles(*documents)
    if as_json:
        print_json(changes_json(changes))
    else:
        print_changes(changes)
    if any(change.is_real and change.ratio > 0 for change in changes.heads):
        raise typer.Exit(1)


def changes_json(changes: Changes) -> str:
    """The changes as a JSON document."""
    return json.dumps(
        {
            "heads": [
                {**vars(change), "ratio": change.ratio, "is_real": change.is_real}
                for change in changes.heads
            ],
            "added": changes.added,
            "removed": changes.removed,
            "remarks": changes.remarks,
        },
        indent=2,
    )


def print_changes(changes: Changes) -> None:
    """The changes as people read them."""
    from mobilesplit.report.tables import changes_table

    table = changes_table(changes)
    print_table(table.title, table.columns, table.rows)
    for remark in changes.remarks:
        stdout.print(f"Hard to compare: {remark}.", soft_wrap=True)
    for what, names in (("Only in the old one", changes.removed), ("New", changes.added)):
        if names:
            stdout.print(f"{what}: {', '.join(names)}.", soft_wrap=True)
