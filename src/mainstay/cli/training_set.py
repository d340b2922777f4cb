"""`mainstay training-set`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mainstay.cli.session import Session
from mainstay.core.counts import counted

if TYPE_CHECKING:
    from mainstay.cli.output import Output
    from mainstay.retraining.training_set import Progress, TrainingSet


def training_set(
    ctx: typer.Context,
    *,
    labels: Annotated[Path, typer.Option(help="CSV or Parquet: a key, an instant and labels in each row.")],
    at: Annotated[str, typer.Option(help="Its column of instants: when the answer was needed.")],
    key: Annotated[
        str | None,
        typer.Option("--key", "-k", help="Its key column (a,b for a key of two); else as the feature set's."),
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Where to; .parquet or .csv.")] = Path(
        "training-set.parquet"
    ),
    timezone: Annotated[str | None, typer.Option(help="The zone of instants without one.")] = None,
    version: Annotated[int | None, typer.Option(help="Whose features: a model version; else what answers.")] = None,
    memory: Annotated[str, typer.Option(help="How much is held before it is spilled to disk.")] = "512MB",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only read the labels and plan; write nothing.")] = False,
    timeout: Annotated[int, typer.Option(help="Seconds to wait for the process that owns the integration.")] = 60,
) -> int:
    """For each label the features as they were known at its instant, by the SQL that serves. Exits 1 on leakage.

    Example: mainstay training-set --labels churned.csv --at asked_at --out train.parquet
    """
    from mainstay.app import training_set as training
    from mainstay.app.place import locate
    from mainstay.core.clock import SECOND
    from mainstay.core.verdicts import Verdict

    session: Session = ctx.obj
    place = locate(session.find_file(), session.find_home())
    wanted = training.Wanted(
        labels=labels, at=at, key=key, timezone=timezone, version=version, out=None if dry_run else out, memory=memory
    )
    with _progress(shown=not session.json) as progress:
        made = training.training_set(place, wanted, progress, timeout_us=timeout * SECOND)
    behind = training.behind(place) if dry_run else {}
    session.out.document({**_document(made), "behind": behind})
    _tell(session.out, made)
    for name, batches in behind.items():
        behind_by = counted(batches, "batch is", "batches are")
        session.out.say(f"{name}: {behind_by} not in history yet; without --dry-run that is done first")
    return 1 if any(one.verdict is Verdict.FAIL for one in made.findings) else 0


@contextmanager
def _progress(*, shown: bool) -> Iterator[Progress]:
    """A bar on stderr, where there is a terminal."""
    if not shown or not sys.stderr.isatty():
        yield lambda _done, _all: None
        return
    from rich.console import Console
    from rich.progress import Progress as Bar

    with Bar(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("feature rows", total=None)
        yield lambda done, every: bar.update(task, completed=done, total=every)


def _document(made: TrainingSet) -> dict[str, object]:
    import msgspec

    document: dict[str, object] = msgspec.to_builtins(made)
    return document


def _tell(out: Output, made: TrainingSet) -> None:
    from mainstay.core.verdicts import Verdict
    from mainstay.retraining.writing import REASONS

    verb = f"→ {made.out}" if made.out else "would have a feature row, as far as the plan can tell"
    out.say(f"{made.rows:,} of {counted(made.labels, 'label')} {verb}", style="bold")
    sets = ", ".join(one.removeprefix("sha256:")[:12] for one in (made.feature_set, *made.also))
    out.say(f"{counted(len(made.features), 'feature')} of {sets}")
    out.say(f"{counted(made.states, 'distinct row')} in {counted(made.runs, 'run')} of the SQL")
    for reason, count in made.left_out.items():
        lines = ", ".join(map(str, made.lines[reason]))
        more = ", ..." if count > len(made.lines[reason]) else ""
        out.say(f"left out: {count:,}  {REASONS[reason]} (line {lines}{more})", style="yellow")
    if made.left_out_file:
        out.say(f"each of them, with its reason: {made.left_out_file}")
    out.findings(one for one in made.findings if one.verdict is not Verdict.PASS)
    for one in made.findings:
        if one.verdict is Verdict.PASS and one.failed:
            out.say(one.sentence)
