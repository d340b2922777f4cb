"""`mainstay new model`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mainstay.cli.session import Session


def new_model(
    ctx: typer.Context, *, folder: Annotated[Path, typer.Argument(help="Where model.py is written; made if need be.")]
) -> None:
    """Write a model.py to begin with: a class of your own that `mainstay model add` takes.

    An installation in a folder called model is still `mainstay new model --from URL`.

    Example: mainstay new model mymodel
    """
    from mainstay.models.template import write_template

    session: Session = ctx.obj
    files = write_template(folder)
    session.out.document({"files": [str(path) for path in files]})
    for path in files:
        session.out.say(f"wrote {path}")
    session.out.say(f"then: mainstay model add {folder} --python path/to/venv/bin/python")
