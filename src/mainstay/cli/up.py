"""`mainstay up`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from mainstay.cli.session import Session


def up(
    ctx: typer.Context,
    *,
    workers: Annotated[
        int | None, typer.Option(envvar="MAINSTAY_WORKERS", help="API workers; as the file says when left out.")
    ] = None,
    host: Annotated[
        str | None, typer.Option(envvar="MAINSTAY_HOST", help="Address of the API; as the file says when left out.")
    ] = None,
    port: Annotated[
        int | None, typer.Option(envvar="MAINSTAY_PORT", help="Port of the API; as the file says when left out.")
    ] = None,
    status_port: Annotated[
        int | None, typer.Option(help="Port of the status page; as the file says when left out.")
    ] = None,
    grpc_port: Annotated[
        int | None, typer.Option(help="Port for gRPC (extra `grpc`); as the file says when left out.")
    ] = None,
    trace: Annotated[
        bool, typer.Option("--trace", envvar="MAINSTAY_TRACE", help="Send traces by OpenTelemetry (extra `otel`).")
    ] = False,
) -> int:
    """Run the integration: the loop that keeps data current, and the API that answers.

    A changed file is applied first, if nothing would break. Ctrl-C stops it: not ready, drain, end. In the folder of an
    installation: every integration, each in processes of its own.

    Example: mainstay up --workers 2
    """
    from mainstay.app import log_lines, logs, tracing
    from mainstay.app.place import locate
    from mainstay.app.up import up as run_up
    from mainstay.core.clock import SystemClock

    if trace:
        tracing.need()
        os.environ[tracing.TRACE] = "on"  # its processes inherit it
        os.environ.pop(tracing.PARENT, None)  # what runs for months is not part of what started it
    session: Session = ctx.obj
    said = log_lines.lines_of(sys.stderr, os.environ, "mainstay up")
    say = logs.sayer(os.environ, SystemClock(), said)
    files = session.find_files()
    if len(files) > 1:
        alone = (workers, port, status_port, grpc_port) == (None, None, None, None)
        return _all(session, files, say, host=host or None, alone=alone)
    place = locate(session.find_file(), session.find_home())
    ports = {"port": port, "status_port": status_port, "grpc_port": grpc_port}
    return run_up(place, workers=workers, host=host or None, **ports, say=say)


def _all(session: Session, files: Sequence[Path], say: Callable[[str], None], *, host: str | None, alone: bool) -> int:
    from mainstay.app.installation import need_apart, up_all
    from mainstay.app.place import read_file, whoami
    from mainstay.core.errors import FileError, Refused

    if not alone:
        mend = "write `settings: {workers: ..., port: ...}` in each file, or name one: --file FOLDER"
        options = "--workers, --port, --status-port and --grpc-port"
        raise Refused(f"{options} are about one integration, and here are {len(files)}", mend=mend)
    read = {}
    for file in files:
        with suppress(FileError):  # its own `up` says so, and the others run
            read[file.parent.name] = read_file(file)
    need_apart(read)
    root = session.find_home(files[0])
    return up_all(files, root, owner=whoami("mainstay up"), say=say, host=host)
