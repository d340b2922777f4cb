"""`mainstay client`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mainstay.cli.session import Session

app = typer.Typer(help="Write a typed client of the API.", no_args_is_help=True)

Out = Annotated[Path | None, typer.Option("--out", help="Folder to write to; this one.")]
Api = Annotated[int | None, typer.Option(help="Which API version; the newest with a contract.")]
Force = Annotated[bool, typer.Option("--force", help="Replace a file that Mainstay did not make.")]


@app.command("python")
def python(ctx: typer.Context, *, out: Out = None, api: Api = None, force: Force = False) -> None:
    """Write a client in Python: one file that needs the standard library only, typed by the API contract.

    Example: mainstay client python --out ../crm
    """
    _write(ctx.obj, "python", out, api, force=force)


@app.command("typescript")
def typescript(ctx: typer.Context, *, out: Out = None, api: Api = None, force: Force = False) -> None:
    """Write a client in TypeScript: one file that needs `fetch` only, typed by the API contract.

    Example: mainstay client typescript --out ../page
    """
    _write(ctx.obj, "typescript", out, api, force=force)


def _write(session: Session, language: str, out: Path | None, api: int | None, *, force: bool) -> None:
    from mainstay.app.client.writing import file_name, find_contract, text_of, write

    file = session.find_file()
    contract = find_contract(file.absolute().parent, api)
    path = (out or Path.cwd()) / file_name(contract, language)
    written = write(path, text_of(contract, language), force=force)
    session.out.document({"file": str(path), "api": contract.api, "language": language, "written": written})
    session.out.say(f"{'wrote' if written else 'unchanged'} {path}")
