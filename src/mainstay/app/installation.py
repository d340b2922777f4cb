"""An installation of several integrations: what they must not share, and all of them up at once."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from mainstay.app.supervisor import Child, Supervisor
from mainstay.core.clock import SECOND
from mainstay.core.counts import counted
from mainstay.core.errors import LeaseOwned, Refused
from mainstay.core.nouns import Integration
from mainstay.core.verdicts import Finding, Verdict
from mainstay.store.lease import sole

GRACE_US = 55 * SECOND
"""How long an integration has to drain and end: longer than its own processes have."""


def clashes(integrations: Mapping[str, Integration]) -> Iterator[Finding]:
    """What two integrations of one installation both have, though only one can.

    Args:
        integrations: Folder's name -> what its file says.
    """
    names: dict[str, list[str]] = defaultdict(list)
    ports: dict[tuple[str, int], list[str]] = defaultdict(list)
    for folder, one in integrations.items():
        names[one.name].append(folder)
        beside = [at for at in (one.settings.status_page, one.settings.grpc) if at is not None]
        for host, port in [(one.settings.host, one.settings.port), *((at.host, at.port) for at in beside)]:
            if port:
                ports[host, port].append(folder)
    for name, folders in names.items():
        if len(folders) > 1:
            sentence = f"{' and '.join(folders)} are both called {name}, and would share one state"
            mend = "give each its own `integration: NAME`"
            yield Finding(check="installation.names", verdict=Verdict.FAIL, sentence=sentence, mend=mend)
    for (host, port), folders in ports.items():
        if len(folders) > 1:
            sentence = f"{' and '.join(folders)} both listen on {host} port {port}"
            mend = "give each its own `settings: {port: ...}`, and status pages and gRPC theirs"
            yield Finding(check="installation.ports", verdict=Verdict.FAIL, sentence=sentence, mend=mend)


def up_all(
    files: Sequence[Path], root: Path, *, owner: str, say: Callable[[str], None], host: str | None = None
) -> int:
    """One `mainstay up` for each integration, until SIGTERM or SIGINT: one that ends is started again, alone.

    Args:
        files: The integrations' files.
        root: The home that they share.
        owner: Who we are, for whoever finds the installation up already.
        say: Where lines for the operator go.
        host: Address of every API; None: as each file says.

    Raises Refused when the installation is up already.
    """
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    children = [
        Child(
            name=file.parent.name,
            argv=(sys.executable, "-m", "mainstay", "up", "--file", str(file.absolute()), "--home", str(root)),
            env={} if host is None else {"MAINSTAY_HOST": host},
        )
        for file in files
    ]
    try:
        with sole(root / ".up", owner=owner):
            names = ", ".join(child.name for child in children)
            say(f"{counted(len(children), 'integration')}: {names}  (Ctrl-C stops)")
            return Supervisor(children, grace_us=GRACE_US, say=say).run()
    except LeaseOwned as error:
        mend = "stop it first, or look: mainstay status"
        raise Refused(f"the installation is up already: {error.owner}", mend=mend) from None


def need_apart(integrations: Mapping[str, Integration]) -> None:
    """Raises Refused where two integrations would write into one state."""
    for finding in clashes(integrations):
        if finding.check == "installation.names":
            raise Refused(finding.sentence, mend=finding.mend)
