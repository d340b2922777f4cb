"""Where the files of an installation of several integrations lie.

    installation.yaml            sources that they share
    integrations/
        churn/mainstay.yaml
        upsell/mainstay.yaml
    .mainstay/                   the state of all of them

A single mainstay.yaml is an installation of one.
"""

from __future__ import annotations

from pathlib import Path

INSTALLATION = "installation.yaml"
MEMBERS = "integrations"
MAIN = "mainstay.yaml"


def installation_of(file: Path) -> Path | None:
    """The folder of the installation that the integration's file belongs to; None for an installation of one."""
    members = file.absolute().parent.parent
    if members.name == MEMBERS and (members.parent / INSTALLATION).is_file():
        return members.parent
    return None


def members_of(folder: Path) -> tuple[Path, ...]:
    """The files of the installation's integrations, by the names of their folders."""
    return tuple(sorted((folder / MEMBERS).glob(f"*/{MAIN}")))
