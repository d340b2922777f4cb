"""`mainstay`: the entry point, and the one place where errors become sentences and exit codes.

| exit code | means                                                        |
|-----------|--------------------------------------------------------------|
| 0         | done                                                         |
| 1         | a FAIL was found, or it could not be done                    |
| 2         | the file or the command line is wrong                        |
| 3         | refused: it would break a promise, or was not agreed to      |
| 4         | what was named does not exist                                |
| 5         | another process owns the integration                         |
| 70        | a fault of Mainstay itself                                   |
| 130       | interrupted                                                  |
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from mainstay import __version__
from mainstay.cli.commands import COMMANDS, LazyGroup, Usage, chosen, load
from mainstay.cli.output import error_document, seen, write_json
from mainstay.cli.session import Debug, File, Home, Json, merged
from mainstay.core.errors import MainstayError

INTERNAL = 70
INTERRUPTED = 130

app = typer.Typer(cls=LazyGroup, add_completion=False, rich_markup_mode="rich", no_args_is_help=False)


class Interrupted(MainstayError):
    """A person pressed Ctrl-C."""

    exit_code = INTERRUPTED


class Internal(MainstayError):
    """A fault of Mainstay."""

    exit_code = INTERNAL


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"mainstay {__version__}")
        raise typer.Exit


@app.callback()
def root(
    *,
    ctx: typer.Context,
    json: Json = False,
    home: Home = None,
    file: File = None,
    debug: Debug = False,
    version: Annotated[  # noqa: ARG001 - its callback prints
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """The integration layer between a trained model and the business that is to use it.

    Example: mainstay check --file churn/mainstay.yaml
    """
    ctx.obj = merged(ctx.obj, json=json, home=home, file=file, debug=debug)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line and exits the process with the code of the table above."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    sys.exit(run(given))


def run(arguments: list[str]) -> int:
    """Runs one command line; returns its exit code. Errors are told here and nowhere else."""
    debug = "--debug" in arguments
    try:
        result = typer.main.get_command(app).main(arguments or ["--help"], prog_name="mainstay", standalone_mode=False)
    except MainstayError as error:
        if debug:
            _traceback()
        return _tell(error, arguments)
    except typer.TyperException as error:
        return _tell(Usage(error.format_message(), mend=_help_of(arguments)), arguments)
    except (typer.Abort, KeyboardInterrupt):
        return _tell(Interrupted("interrupted"), arguments)
    except Exception as error:  # noqa: BLE001 - a door: whatever comes is told in one sentence
        if debug:
            _traceback()
        sentence = f"Mainstay itself failed: {type(error).__name__}"
        return _tell(Internal(sentence, mend="run it again with --debug to see where, and report it"), arguments)
    return result if isinstance(result, int) else 0


def _tell(error: MainstayError, arguments: list[str]) -> int:
    if "--json" in arguments:
        write_json(error_document(error))
    else:
        sys.stderr.write(seen(f"{error}\n"))
    return error.exit_code


def _help_of(arguments: list[str]) -> str:
    names = (chosen(arguments[place:]) for place, each in enumerate(arguments) if each in COMMANDS)
    name, rest = next(names, ("", []))
    part = rest[0] if name and rest and rest[0] in getattr(load(name), "commands", {}) else ""
    return f"see `{' '.join(('mainstay', *filter(None, (name, part))))} --help`"


def _traceback() -> None:
    import traceback

    traceback.print_exc()
