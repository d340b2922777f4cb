"""What the audit of an integration says, and whether it is as it was written. Reads; every change records itself."""

from __future__ import annotations

from typing import Any

import msgspec

from mainstay.app.place import Place, opened
from mainstay.core.audit import AuditRecord, Checked
from mainstay.core.counts import counted
from mainstay.core.verdicts import Finding, Verdict
from mainstay.store import audit

CHECK = "audit"
KEEP = "keep this hash elsewhere: mainstay audit verify --head HASH asks for it"
_MEND = "what stands in state is not what was recorded; compare with a backup, and see who can write to the home"


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which records to list."""

    what: str = ""
    """The beginning of what was done: `key`, `model.use`."""
    by: str = ""
    """A part of who did it."""
    object: str = ""
    """A part of what was changed."""
    since_us: int = 0
    limit: int = 100
    """The newest so many."""


def listed(place: Place, wanted: Wanted) -> list[AuditRecord]:
    """The newest records that fit, oldest first. Raises NotFound before the first `apply`."""
    with opened(place) as state:
        found = audit.records(state)
    fitting = [
        one
        for one in found
        if one.what.startswith(wanted.what)
        and wanted.by in one.by
        and wanted.object in one.object
        and one.at_us >= wanted.since_us
    ]
    return fitting[max(0, len(fitting) - wanted.limit) :]


def verified(place: Place, head: str = "") -> tuple[Checked, Finding]:
    """Whether the chain is whole, with the sentence that says so. `head`: a hash that was kept elsewhere."""
    anchor = head.strip().lower()
    if anchor and not anchor.startswith("sha256:"):
        anchor = f"sha256:{anchor}"
    with opened(place) as state:
        checked = audit.verify(state, anchor)
    if checked.fault is not None:
        return checked, Finding(check=CHECK, verdict=Verdict.FAIL, sentence=checked.fault.sentence, mend=_MEND)
    if not checked.records:
        return checked, Finding(check=CHECK, verdict=Verdict.PASS, sentence="nothing has been recorded yet")
    records = counted(checked.records, "record")
    sentence = f"{records}, each as it was written; head {checked.head}"
    if anchor:
        sentence = f"{records}, each as it was written; the hash that was asked for is that of {checked.anchored}"
    return checked, Finding(check=CHECK, verdict=Verdict.PASS, sentence=sentence, mend="" if anchor else KEEP)


def document_of(checked: Checked, finding: Finding) -> dict[str, Any]:
    """What programs read of it."""
    return {"finding": finding, **{name: getattr(checked, name) for name in checked.__struct_fields__}}
