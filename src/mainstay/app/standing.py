"""What the checks that are asked at each read say now: `status` asks without a read. Pure."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from mainstay.core.clock import iso
from mainstay.core.nouns import Dataset
from mainstay.core.records import CheckResult
from mainstay.core.verdicts import Finding, Verdict


def standing(dataset: Dataset, result: CheckResult | None, now_us: int) -> Iterator[Finding]:
    """The findings that do not pass, called `dataset.check`.

    Where a later calendar window ended two beats ago and was not judged, the answer is UNKNOWN: nothing was read since
    that could tell.
    """
    if result is None:
        return
    there = {check.name for check in dataset.checks}
    for finding in result.findings:
        until = result.until_us.get(finding.check)
        if finding.check not in there:
            continue
        if until is not None and now_us > until + 2 * dataset.every_us:
            sentence = f"{dataset.name}: cannot tell for what ended at {iso(until)}: nothing was read since"
            unknown = Finding(check=f"{dataset.name}.{finding.check}", verdict=Verdict.UNKNOWN, sentence=sentence)
            yield msgspec.structs.replace(unknown, on_fail=finding.on_fail)
        elif finding.verdict is not Verdict.PASS:
            sentence = f"{dataset.name}: {finding.sentence}"
            yield msgspec.structs.replace(finding, check=f"{dataset.name}.{finding.check}", sentence=sentence)
