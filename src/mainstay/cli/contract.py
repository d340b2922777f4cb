"""`mainstay contract`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mainstay.cli.session import Session

if TYPE_CHECKING:
    from mainstay.app.contracts import Contracts
    from mainstay.cli.output import Output
    from mainstay.core.nouns import Check
    from mainstay.core.promises import Change, DatasetContract


def contract(
    ctx: typer.Context,
    *,
    dataset: Annotated[str | None, typer.Argument(help="The dataset; left out: a line for each.")] = None,
    number: Annotated[int | None, typer.Option("--number", "-n", help="This version; left out: the newest.")] = None,
    diff: Annotated[tuple[int, int] | None, typer.Option(help="What changed between two versions.")] = None,
    odcs: Annotated[bool, typer.Option("--odcs", help="As a document of the Open Data Contract Standard.")] = False,
    given: Annotated[Path | None, typer.Option("--from", help="Print the dataset of an ODCS document.")] = None,
) -> None:
    """Show what a dataset promises, how that changed, and what broke for whoever reads it.

    Each `apply` that changes schema, checks, freshness or owner makes a version. With `--from` it reads a document
    of the Open Data Contract Standard instead, and prints the part of mainstay.yaml that says the same.

    Example: mainstay contract customers --odcs > customers.odcs.yaml
    """
    from mainstay.app.contracts import of_dataset, read_contracts
    from mainstay.app.place import locate
    from mainstay.core.errors import NotFound

    session: Session = ctx.obj
    out = session.out
    if given is not None:
        _propose(out, given, dataset)
        return
    found = read_contracts(locate(session.find_file(), session.find_home()))
    if dataset is None:
        if diff or odcs or number is not None:
            raise NotFound("which dataset's contract?", mend=f"name it: one of {', '.join(found.datasets)}")
        _list(out, found)
    elif diff is not None:
        _differ(out, of_dataset(found, dataset, diff[0]), of_dataset(found, dataset, diff[1]))
    elif odcs:
        _document(out, found, of_dataset(found, dataset, number))
    else:
        _show(out, found, of_dataset(found, dataset, number))


def _propose(out: Output, given: Path, dataset: str | None) -> None:
    from mainstay.app.contracts import proposed, yaml_of
    from mainstay.catalog.odcs_in import lines

    proposal = proposed(given, dataset)
    out.document(proposal)
    if not out.json:
        print("\n".join(lines(proposal)))
        print(yaml_of({"datasets": {proposal.dataset: proposal.entry}}), end="")


def _list(out: Output, found: Contracts) -> None:
    from mainstay.core.clock import iso

    newest = [versions[-1] for versions in found.datasets.values() if versions]
    out.document({"contracts": newest})
    out.table(
        ["dataset", "version", "since", "by", "columns", "checks", "owner"],
        [
            (one.dataset, one.number, iso(one.at_us), one.by, len(one.promise.columns), len(one.promise.checks),
             one.promise.owner)
            for one in newest
        ],
    )  # fmt: skip


def _differ(out: Output, before: DatasetContract, after: DatasetContract) -> None:
    from mainstay.app.contracts import difference

    changes = difference(before, after)
    breaking = any(one.breaking for one in changes)
    out.document(
        {"dataset": after.dataset, "from": before.number, "to": after.number, "breaking": breaking, "changes": changes}
    )
    out.say(f"{after.dataset}: {before.number} -> {after.number}", style="bold")
    _changes(out, changes)


def _changes(out: Output, changes: tuple[Change, ...]) -> None:
    for one in changes:
        out.say(f"  {'breaking  ' if one.breaking else 'compatible'}  {one.sentence}")
    if not changes:
        out.say("  nothing changed", style="green")


def _document(out: Output, found: Contracts, one: DatasetContract) -> None:
    from mainstay.app.contracts import as_odcs, yaml_of

    document = as_odcs(found, one)
    out.document(document)
    if not out.json:
        print(yaml_of(document), end="")  # not through the console: it would fold long lines


def _told(check: Check) -> str:
    from mainstay.quality.said import said

    return f"{f'{check.name} {said(check)}'.strip()} ({check.on_fail})"


def _show(out: Output, found: Contracts, one: DatasetContract) -> None:
    from mainstay.core.clock import iso, span

    history = found.datasets[one.dataset]
    out.document({"contract": one, "history": history})
    promise = one.promise
    out.say(f"{one.dataset}: version {one.number}, since {iso(one.at_us)} by {one.by or 'unknown'}", style="bold")
    out.table(
        ["column", "type", "unit", "checks"],
        [
            (column.name, column.type, column.unit, ", ".join(
                _told(check)
                for check in promise.checks
                if check.column == column.name and check.kind != "type"
            ))
            for column in promise.columns
        ],
    )  # fmt: skip
    whole = [_told(check) for check in promise.checks if check.column is None]
    fresh = promise.freshness
    ages = {"warn": fresh.warn_us, "fail": fresh.fail_us, "newest": fresh.newest_us}
    promised = [f"{name} {span(value)}" for name, value in ages.items() if value is not None]
    key = promise.key if isinstance(promise.key, str) else ", ".join(promise.key)
    for name, text in (
        ("key", key), ("checks", ", ".join(whole)), ("freshness", ", ".join(promised)), ("owner", promise.owner),
    ):  # fmt: skip
        out.say(f"{name:<10} {text or 'none'}")
    for version in reversed(history):
        word = "the first" if version.number == 1 else "breaking" if version.breaking else "compatible"
        out.say(f"{version.number:>3}  {iso(version.at_us)}  {word}", style="bold")
        if version.number > 1:
            _changes(out, version.changes)
