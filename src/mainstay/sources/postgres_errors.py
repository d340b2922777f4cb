"""What PostgreSQL or its driver complains of -> SourceAway (may pass) or SourceRefused (a person must act)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from mainstay.core.errors import SourceAway, SourceError, SourceRefused

if TYPE_CHECKING:
    import psycopg

_PASSING_CLASSES = ("08", "40", "53", "57", "58")
"""Connection lost, rollback (serialization, deadlock, conflict on a standby), no resources, operator, system."""
_PASSING = frozenset({"25P03", "25P04", "55P03"})
"""Idle or whole transaction timed out, lock not available."""

_MENDS = {
    "42501": "grant this login USAGE on the schema and SELECT on the table",
    "3D000": "check the database's name in the url",
    "28P01": "check the user and password in the url",
    "28000": "check the user in the url and the server's pg_hba.conf",
    "57014": "index what the read filters by, or raise `guard.statement_timeout`",
    "53300": "the server has no connection left; it is tried again",
}

# libpq gives no code for a refused connection, only text in the server's language; what is not matched counts as
# passing and is tried again, slowly, with the sentence shown.
_REFUSED_CONNECTIONS = (
    (re.compile(r"password authentication failed|no password supplied|empty password"), "28P01"),
    (re.compile(r"no pg_hba\.conf entry|role .* does not exist|is not permitted to log in"), "28000"),
    (re.compile(r"database .* does not exist"), "3D000"),
    (re.compile(r"permission denied for database"), "42501"),
    (re.compile(r"server does not support SSL|certificate verify failed|SSL error"), "ssl"),
)


def from_statement(error: psycopg.Error, *, where: str) -> SourceError:
    """The error of a statement, by its SQLSTATE. None at all means that the connection was lost."""
    code = error.sqlstate or ""
    sentence = error.diag.message_primary or _first_line(str(error)) or "the connection was lost"
    if code.startswith("22"):
        # Data exceptions quote the value; a value may be personal.
        sentence = re.sub(r'".*"', '"..."', sentence, flags=re.DOTALL)
    if code:
        sentence = f"{sentence} ({code})"
    passing = not code or code.startswith(_PASSING_CLASSES) or code in _PASSING
    kind = SourceAway if passing else SourceRefused
    return kind(sentence, mend=_MENDS.get(code, ""), where=where)


def from_connecting(error: psycopg.Error, *, secret: str, where: str) -> SourceError:
    """The error of an attempt to connect, with `secret` (the password) taken out of its text."""
    text = str(error)
    if secret:
        text = text.replace(secret, "***")
    sentence = _first_line(text) or "it cannot be reached"
    for pattern, code in _REFUSED_CONNECTIONS:
        if pattern.search(text):
            return SourceRefused(sentence, mend=_MENDS.get(code, "check `sslmode` in the url"), where=where)
    return SourceAway(sentence, mend="check that the server runs and that its address is right", where=where)


def _first_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[0] if lines else ""
