"""What is done to a home while nobody is at work in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from mainstay.app.place import whoami
from mainstay.core.errors import LeaseOwned, Refused
from mainstay.store import snapshot
from mainstay.store.home import STORES, Home
from mainstay.store.lease import sole


def integrations_of(root: Path) -> tuple[str, ...]:
    """Names of the integrations that have state under `root`.

    Raises Refused where one keeps it elsewhere: what is done to files would miss it.
    """
    for path in sorted(root.glob(f"*/{STORES}")):
        raise Refused(
            f"{path.parent.name} keeps its state in PostgreSQL and shares its folder with other machines",
            mend="back up or upgrade the database, the Redis and the shared folder with their own tools",
            where=str(path),
        )
    return tuple(sorted(path.parent.name for path in root.glob("*/state.sqlite")))


@contextmanager
def alone(root: Path, command: str) -> Iterator[None]:
    """No restore, no upgrade, and nobody who has an integration up or owned, until the end of the block.

    No store is opened for that: this version may not be able to. Raises Refused naming who is there.
    """
    by = whoami(command)
    with ExitStack() as stack:
        try:
            stack.enter_context(sole(root / snapshot.RESTORING, owner=by))
            for name in integrations_of(root):
                home = Home(root, name)
                stack.enter_context(sole(home.up, owner=by))
                stack.enter_context(sole(home.lease, owner=by))
        except LeaseOwned as error:
            raise Refused(
                f"the home is in use: {error.owner}; nothing was changed",
                where=str(root),
                mend="stop `mainstay up` first",
            ) from None
        yield
