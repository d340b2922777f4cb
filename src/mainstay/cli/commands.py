"""The commands as a literal table, and the group that loads each one only when it is called.

To add a command: write `cli/x.py` with a function or a Typer app, and its line here.
"""

from __future__ import annotations

import difflib
import functools
import importlib
import inspect
import re
from typing import Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup

from mainstay.cli.session import with_session
from mainstay.core.errors import MainstayError


class Entry(NamedTuple):
    target: str
    """`module:attribute`; the attribute is a command function or a `typer.Typer` app of several."""
    help: str


COMMANDS: dict[str, Entry] = {
    "new": Entry("mainstay.cli.new:new", "Write an installation for a database, checked; with --up, live."),
    "new model": Entry("mainstay.cli.new_model:new_model", "Write a model.py to begin with, for a class of your own."),
    "check": Entry("mainstay.cli.check:check", "Find out all that can be known before going live."),
    "schema": Entry("mainstay.cli.schema:schema", "Print the JSON Schema of mainstay.yaml, for editors."),
    "apply": Entry("mainstay.cli.apply:apply", "Print what a changed file means, then perform it."),
    "up": Entry("mainstay.cli.up:up", "Run the integration: pipelines and API."),
    "status": Entry("mainstay.cli.status:status", "Show what is wrong first, then everything else."),
    "run": Entry("mainstay.cli.run:run", "Read, judge and publish datasets now."),
    "backfill": Entry("mainstay.cli.backfill:backfill", "Read a range of a dataset again, beside increments."),
    "profile": Entry("mainstay.cli.profile:profile", "Show what stands in a dataset, and propose checks."),
    "contract": Entry("mainstay.cli.contract:contract", "Show what a dataset promises, and how that changed."),
    "predict": Entry("mainstay.cli.predict:predict", "Answer for a key, as the API would."),
    "why": Entry("mainstay.cli.why:why", "Lead one answer back to its rows and forward to its outcome."),
    "receipt": Entry("mainstay.cli.receipt:app", "Show or verify the record of an answer."),
    "training-set": Entry("mainstay.cli.training_set:training_set", "Make a training set of what was known when."),
    "model": Entry("mainstay.cli.model:app", "Add, list, show and switch model versions."),
    "quarantine": Entry("mainstay.cli.quarantine:app", "List, show, replay and discard rejected rows."),
    "map": Entry("mainstay.cli.map:map_values", "Propose what unknown values of a column mean, and ask."),
    "batch": Entry("mainstay.cli.batch:app", "List, show, release and discard batches."),
    "key": Entry("mainstay.cli.key:app", "Create, rotate, list and revoke API keys."),
    "audit": Entry("mainstay.cli.audit:audit", "List who changed what."),
    "audit verify": Entry("mainstay.cli.audit:verify", "Find the first audit record that is not as it was written."),
    "client": Entry("mainstay.cli.client:app", "Write a typed client of the API, in Python or TypeScript."),
    "callers": Entry("mainstay.cli.callers:callers", "Show who still calls which version, and through which door."),
    "erase": Entry("mainstay.cli.erase:erase", "Erase a person from every store, and verify it."),
    "backup": Entry("mainstay.cli.backup:backup", "Back the whole home up into one file, while it is at work."),
    "restore": Entry("mainstay.cli.restore:restore", "Put a backup's home in place, whole or not at all."),
    "upgrade": Entry("mainstay.cli.upgrade:upgrade", "Bring an earlier version's stores to this one's schema."),
    "export": Entry("mainstay.cli.export:app", "Write a systemd unit, or a Dockerfile."),
    "demo": Entry("mainstay.cli.demo:demo", "Watch Mainstay and today's glue code take the same blows."),
}


class Usage(MainstayError):
    """The command line itself is wrong."""

    exit_code = 2


class _Plain:
    """Help that tells of values and not of Python: a flag has no type, and several texts are texts."""

    def get_params(self, ctx: Any) -> list[Any]:
        params: list[Any] = super().get_params(ctx)  # type: ignore[misc]
        for each in params:
            shown = "" if getattr(each, "is_flag", False) else _OURS.sub(r"\1", each.display_type_rich(ctx=ctx) or "")
            each.display_type_rich = functools.partial(_shown, shown)
        return params


def _shown(text: str, *, ctx: Any) -> str:  # noqa: ARG001 - Typer's signature
    return text


_OURS = re.compile(r"list\[(\w+)\]|(?<=float) range|(?<=int) range")


class _Command(_Plain, TyperCommand):
    """A command."""


class _Group(_Plain, TyperGroup):
    """Several commands under one name."""


class LazyGroup(_Plain, TyperGroup):
    """Lists commands from the table; imports one only to run it or to print its own help."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - Typer's signature
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002 - Typer's signature
        entry = COMMANDS.get(cmd_name)
        return None if entry is None else TyperCommand(cmd_name, help=entry.help, callback=lambda: None)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, rest = chosen(args)
        if name in COMMANDS:
            return name, load(name), rest
        if name.startswith("-"):
            return super().resolve_command(ctx, args)
        near = difflib.get_close_matches(name, COMMANDS, n=1)
        mend = f"did you mean `mainstay {near[0]}`?" if near else "see `mainstay --help`"
        raise Usage(f"there is no command {name!r}", mend=mend)


def chosen(words: list[str]) -> tuple[str, list[str]]:
    """The command that the words name, and what is left for it.

    `new model` and `audit verify` are of two words; but `new model --from` is an installation in a folder called model.
    """
    name, rest = words[0], words[1:]
    if name == "new" and rest[:1] == ["model"] and not any(one.partition("=")[0] == "--from" for one in rest):
        return "new model", rest[1:]
    if name == "audit" and rest[:1] == ["verify"]:
        return "audit verify", rest[1:]
    return name, rest


def load(name: str) -> Any:
    """The command itself, its module imported, with the options of every command."""
    module, _, attribute = COMMANDS[name].target.partition(":")
    found = getattr(importlib.import_module(module), attribute)
    if isinstance(found, typer.Typer):
        command: Any = _group(found)
    else:
        single = typer.Typer(add_completion=False)
        single.command(name, cls=_Command, help=flowing(found.__doc__))(with_session(found))
        command = typer.main.get_command(single)
    command.name = name
    return command


def _group(app: typer.Typer) -> Any:
    for registered in app.registered_commands:
        if registered.callback is not None:
            registered.help = registered.help or flowing(registered.callback.__doc__)
            registered.callback = with_session(registered.callback)
            registered.cls = _Command
    if app.registered_callback is None:
        app.callback(cls=_Group)(with_session(_nothing))
    return typer.main.get_group(app)


def flowing(doc: str | None) -> str | None:
    """A docstring whose paragraphs are a line each, so that a terminal breaks them where it ends and nowhere else."""
    return doc and "\n\n".join(" ".join(part.split()) for part in inspect.cleandoc(doc).split("\n\n"))


def _nothing() -> None:
    pass
