"""`mainstay new`."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mainstay.cli.output import seen
from mainstay.cli.session import Session

if TYPE_CHECKING:
    from mainstay.app.check import Report
    from mainstay.app.new.asking import Ask, Question
    from mainstay.app.new.live import Live
    from mainstay.app.new.make import Made
    from mainstay.app.new.work import Wish
    from mainstay.cli.output import Output

_DATA, _MODEL, _PURPOSE = "The data", "The model", "What it is for"

Folder = Annotated[Path, typer.Argument(help="The installation's folder; new or empty.")]
From = Annotated[
    str,
    typer.Option(
        "--from", help="postgresql://user@host/db, a SQLite file, a CSV file or a folder, or '${VAR}' that holds one."
    ),
]
Table = Annotated[str | None, typer.Option(help="The table with one row for each answer.", rich_help_panel=_DATA)]
Key = Annotated[str | None, typer.Option(help="The column that names its row.", rich_help_panel=_DATA)]
CursorColumn = Annotated[
    str | None,
    typer.Option(help="The column that tells what is new; none: every read is a full one.", rich_help_panel=_DATA),
]
Deletes = Annotated[
    str | None, typer.Option(help="The column that marks deleted rows; or none.", rich_help_panel=_DATA)
]
Timezone = Annotated[str | None, typer.Option(help="The zone of times that have none.", rich_help_panel=_DATA)]
ModelFile = Annotated[Path | None, typer.Option(help="A trained model, as for `model add`.", rich_help_panel=_MODEL)]
Python = Annotated[str | None, typer.Option(help="The lab's interpreter, for a pickle.", rich_help_panel=_MODEL)]
Example = Annotated[Path | None, typer.Option(help="CSV or Parquet with training rows.", rich_help_panel=_MODEL)]
Outputs = Annotated[list[str] | None, typer.Option(help=r"name=method\[class]:unit", rich_help_panel=_MODEL)]
Trust = Annotated[list[str] | None, typer.Option(help="skops: a type that may be loaded.", rich_help_panel=_MODEL)]
Folders = Annotated[list[str] | None, typer.Option(help="A folder with the lab's own modules.", rich_help_panel=_MODEL)]
Maps = Annotated[
    list[str] | None, typer.Option("--map", help="INPUT=COLUMN, or INPUT=an SQL expression.", rich_help_panel=_MODEL)
]
Label = Annotated[
    str | None,
    typer.Option(
        help="Without a model: the column that one will predict; its base rate answers.", rich_help_panel=_MODEL
    ),
]
Constant = Annotated[str | None, typer.Option(help="Without a model: NAME=NUMBER answers.", rich_help_panel=_MODEL)]
Rule = Annotated[
    str | None, typer.Option(help="Without a model: NAME=an SQL expression answers.", rich_help_panel=_MODEL)
]
Name = Annotated[str | None, typer.Option(help="The integration; the folder's name.", rich_help_panel=_PURPOSE)]
Owner = Annotated[str | None, typer.Option(help="Who answers for the data.", rich_help_panel=_PURPOSE)]
Problem = Annotated[str | None, typer.Option(help="What goes wrong today.", rich_help_panel=_PURPOSE)]
Workflow = Annotated[
    str | None, typer.Option(help="Where the answer stands, and what follows.", rich_help_panel=_PURPOSE)
]
Port = Annotated[int | None, typer.Option(help="Where the API listens; 8700.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Take every guess; each is shown and written beside its line.")]
Up = Annotated[bool, typer.Option("--up", help="Then apply, read, import the model, make an API key, and answer.")]


def new(
    ctx: typer.Context,
    *,
    folder: Folder,
    source: From,
    table: Table = None,
    key: Key = None,
    cursor: CursorColumn = None,
    deletes: Deletes = None,
    timezone: Timezone = None,
    model: ModelFile = None,
    python: Python = None,
    example: Example = None,
    output: Outputs = None,
    trust: Trust = None,
    path: Folders = None,
    map: Maps = None,
    label: Label = None,
    constant: Constant = None,
    rule: Rule = None,
    name: Name = None,
    owner: Owner = None,
    problem: Problem = None,
    workflow: Workflow = None,
    port: Port = None,
    yes: Yes = False,
    up: Up = False,
) -> int:
    """Write an installation for a database: looked at, asked about what cannot be seen, checked, and with `--up` live.

    Reads at most 50,000 rows of a table, under the guard, and writes nothing into the database.

    Example: mainstay new churn --from postgresql://reader@db/crm --model churn.onnx --up
    """
    from mainstay.app.new.work import Wish

    said = {
        "table": table, "key": key, "cursor": cursor, "deletes": deletes, "timezone": timezone, "name": name,
        "owner": owner, "output": "\n".join(output or ()), "label": label, "constant": constant, "rule": rule,
        "problem": problem, "workflow": workflow,
    }  # fmt: skip
    wish = Wish(
        folder=folder, source=source, model=model.absolute() if model else None, python=python,
        example=example.absolute() if example else None, trusted=tuple(trust or ()),
        paths=tuple(str(Path(one).absolute()) for one in path or ()), maps=_pairs(map or []),
        said={what: value for what, value in said.items() if value}, port=port, yes=yes,
    )  # fmt: skip
    return _made(ctx.obj, wish, up=up)


def _made(session: Session, wish: Wish, *, up: bool) -> int:
    """Writes, checks, shows, and leads on."""
    from mainstay.app.new.live import judge
    from mainstay.app.new.make import make
    from mainstay.core.clock import SystemClock

    clock = SystemClock()
    with _progress(session.out) as (say, person):
        made = make(wish, clock, person=person if sys.stdin.isatty() and not session.json else None, say=say)
        say("checking what was written")
        found = judge(made.folder, clock)
    if not up or not found.ready:
        session.out.document(
            {"folder": str(made.folder), "files": made.paths, "guesses": _guesses(made), "check": found}
        )
    _tell(session.out, made)
    _check(session.out, found)
    if not found.ready or not up:
        _next(session.out, made, wish)
        return 0 if found.ready else 1
    return _live(session, made, wish)


def _pairs(texts: list[str]) -> dict[str, str]:
    from mainstay.core.errors import Refused

    found = {}
    for text in texts:
        name, sign, value = text.partition("=")
        if not sign or not name.strip() or not value.strip():
            raise Refused(f"--map {text} is no pair", mend="--map INPUT=COLUMN, or --map 'INPUT=lower(COLUMN)'")
        found[name.strip()] = value.strip()
    return found


def _person(question: Question) -> str:
    """Asks on the terminal; Enter takes the guess."""
    typer.echo(seen(question.text), err=True)
    for choice in question.choices[:40]:
        typer.echo(seen(f"    {choice}"), err=True)
    if question.guess:
        typer.echo(seen(f"  guess: {question.guess} ({question.evidence})"), err=True)
    answer: str = typer.prompt("  answer", default=question.guess, show_default=bool(question.guess), err=True)
    return answer.strip()


@contextmanager
def _progress(out: Output) -> Iterator[tuple[Callable[[str], None], Ask]]:
    """What is being done, as a line on stderr: `say(text)`; and how a person is asked, the line out of the way."""
    from rich.console import Console

    console = Console(stderr=True, highlight=False)
    if out.json or not console.is_terminal:
        yield lambda _line: None, _person
        return
    with console.status("connecting") as status:

        def person(question: Question) -> str:
            status.stop()
            try:
                return _person(question)
            finally:
                status.start()

        yield status.update, person


def _guesses(made: Made) -> list[Any]:
    from mainstay.app.new.texts import doubts

    return list(doubts(made.plan))


def _tell(out: Output, made: Made) -> None:
    out.say(f"written into {made.folder}: {', '.join(made.paths)}", style="bold")
    guesses = _guesses(made)
    if guesses:
        out.table(
            ["guess", "taken", "because", "say otherwise"],
            [(one.what, one.taken or "none", one.evidence, one.flag) for one in guesses],
        )


def _check(out: Output, found: Report) -> None:
    """What `check` says; the findings about the purpose are the questions that the file itself asks."""
    from mainstay.cli.check import show

    show(out, found, everything=False, elsewhere={"purpose": "the questions stand in the file"})


def _next(out: Output, made: Made, wish: Wish) -> None:
    """The commands that lead on."""
    out.say("next:", style="bold")
    lines = [f"cd {shlex.quote(str(wish.folder))}", "mainstay apply --yes && mainstay run"]
    if wish.model is not None:
        command = ["mainstay", "model", "add", str(wish.model)]
        for flag, value in (("--python", wish.python), ("--example", wish.example)):
            command += [flag, str(value)] if value else []
        for one in made.outputs:
            command += ["--output", one]
        lines += [shlex.join(command), "mainstay model use 1"]
    lines += [f"mainstay key create {made.plan.name}", "mainstay up"]
    for line in lines:
        out.paste(f"  {line}")


def _live(session: Session, made: Made, wish: Wish) -> int:
    from mainstay.app.new.live import place_of, prepare
    from mainstay.app.place import whoami
    from mainstay.app.up import up as run_up
    from mainstay.core.clock import SystemClock

    live = prepare(made, wish, SystemClock(), by=whoami("mainstay new"), say=session.out.say)
    session.out.document({"folder": str(made.folder), "files": made.paths, "guesses": _guesses(made), "live": live})
    _ask_it(session.out, live)
    return run_up(place_of(made.folder), workers=None, port=None, say=lambda line: typer.echo(line, err=True))


def _ask_it(out: Output, live: Live) -> None:
    out.say("the API key, shown only now:", style="bold")
    out.paste(f"  {live.key}")
    out.say("ask it, as soon as it says that it answers:", style="bold")
    body = json.dumps({"key": live.example}, ensure_ascii=False)
    out.paste(f"  curl -s {live.url} -H 'Authorization: Bearer {live.key}' -d '{body}'")
