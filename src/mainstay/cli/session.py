"""What stands on every command line: `--json`, `--home`, `--file`, `--debug`; handed to commands as `Session`."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from mainstay.cli.output import Output
from mainstay.core.errors import NotFound

MAIN = "mainstay.yaml"

_PANEL = "On every command"
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.", rich_help_panel=_PANEL)]
Home = Annotated[
    Path | None,
    typer.Option(
        "--home", help="Where state lies; MAINSTAY_HOME, else .mainstay beside the file.", rich_help_panel=_PANEL
    ),
]
File = Annotated[
    Path | None,
    typer.Option(
        "--file", "-f", help="The file; MAINSTAY_FILE, else mainstay.yaml here or above.", rich_help_panel=_PANEL
    ),
]
Debug = Annotated[bool, typer.Option("--debug", help="Show where an error came from.", rich_help_panel=_PANEL)]

Personal = Annotated[bool, typer.Option("--personal", help="Show values of columns marked `pii` too.")]


@dataclass(frozen=True, slots=True)
class Session:
    """One call of the command line."""

    json: bool = False
    home: Path | None = None
    """What `--home` said; None: beside the file."""
    file: Path | None = None
    """What `--file` said; None: mainstay.yaml in the working folder or above."""
    debug: bool = False
    sink: list[Any] | None = None
    """Where documents go instead of stdout: what one integration says among several."""

    @property
    def out(self) -> Output:
        """Where the command prints."""
        return Output(json=self.json, sink=self.sink)

    def find_file(self) -> Path:
        """The integration's file. Raises NotFound, saying where it was looked for."""
        said = self.file or _path_in("MAINSTAY_FILE")
        if said is not None:
            path = said / MAIN if said.is_dir() else said
            if not path.is_file():
                raise NotFound("there is no such file", where=str(path), mend="give the path: --file PATH")
            return path
        found = self.find_files()
        if len(found) > 1:
            names = ", ".join(str(file.parent.relative_to(file.parents[2])) for file in found)
            raise NotFound(
                f"this installation has {len(found)} integrations, and the command is about one",
                where=str(found[0].parents[2]),
                mend=f"change to its folder, or name it: --file FOLDER, one of {names}",
            )
        return found[0]

    def find_files(self) -> tuple[Path, ...]:
        """The file, or those of every integration of the installation that is here. Raises NotFound for none."""
        from mainstay.store.installation import INSTALLATION, members_of

        if self.file is not None or _path_in("MAINSTAY_FILE") is not None:
            return (self.find_file(),)
        here = Path.cwd()
        for folder in (here, *here.parents):
            if (folder / MAIN).is_file():
                return (folder / MAIN,)
            if (folder / INSTALLATION).is_file():
                members = members_of(folder)
                if members:
                    return members
                raise NotFound(
                    f"{INSTALLATION} has no integrations yet",
                    where=str(folder),
                    mend=f"write integrations/NAME/{MAIN}, or let `mainstay new integrations/NAME` write it",
                )
        raise NotFound(
            f"there is no {MAIN} here or in any folder above",
            where=str(here),
            mend="change to the integration's folder, or give the path: --file PATH",
        )

    def find_home(self, file: Path | None = None) -> Path:
        """Where state lies: as said, else `.mainstay` beside the file, or beside its installation's.

        Raises NotFound when neither is there.
        """
        from mainstay.store.installation import installation_of

        if self.said_home is not None:
            return self.said_home
        file = self.find_file().absolute() if file is None else file.absolute()
        return (installation_of(file) or file.parent) / ".mainstay"

    def find_whole_home(self) -> Path:
        """The home for a command that is about all of it, whatever integrations are there. Raises NotFound."""
        return self.said_home or self.find_home(self.find_files()[0])

    @property
    def said_home(self) -> Path | None:
        """What `--home` said, else the environment's MAINSTAY_HOME."""
        return self.home or _path_in("MAINSTAY_HOME")


def _path_in(variable: str) -> Path | None:
    """What the command line did not say, a service manager says by the environment; empty is as unset."""
    said = os.environ.get(variable, "")
    return Path(said) if said else None


_OPTIONS: dict[str, Any] = {"json": Json, "home": Home, "file": File, "debug": Debug}


def with_session(function: Callable[..., Any]) -> Callable[..., Any]:
    """The command with the four options added, so that they may stand before and behind its name.

    The command reads them as `ctx.obj`, a Session; what both places say, the later wins.
    """
    if hasattr(function, "mainstay_session"):
        return function
    signature = inspect.signature(function, eval_str=True)
    own = list(signature.parameters.values())
    context = next((each.name for each in own if each.annotation is typer.Context), "")
    name = context or "ctx"
    added = [
        inspect.Parameter(option, inspect.Parameter.KEYWORD_ONLY, annotation=kind, default=_default(option))
        for option, kind in _OPTIONS.items()
        if option not in signature.parameters
    ]
    first = [] if context else [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)]

    @functools.wraps(function)
    def run(**arguments: Any) -> Any:
        ctx: typer.Context = arguments[name] if context else arguments.pop(name)
        said = {each.name: arguments.pop(each.name) for each in added}
        ctx.obj = merged(ctx.obj, **said)
        return function(**arguments)

    keyword = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in own]
    run.__signature__ = signature.replace(parameters=[*first, *keyword, *added])  # type: ignore[attr-defined]
    run.mainstay_session = True  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in (*first, *own, *added)}
    return run


def merged(before: object, **said: Any) -> Session:
    """The session with what was said now; unsaid options stay as they were."""
    session = before if isinstance(before, Session) else Session()
    kept = {name: value for name, value in said.items() if value}
    return Session(**{name: kept.get(name, getattr(session, name)) for name in Session.__dataclass_fields__})


def _default(option: str) -> Any:
    return False if option in {"json", "debug"} else None
