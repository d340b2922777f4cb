"""What `mainstay check` makes of a model that is served elsewhere: whether it answers a few rows as the file says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from mainstay.app.check_pre import eaten
from mainstay.core.counts import counted
from mainstay.core.errors import ModelError, ModelRefused
from mainstay.core.records import ModelVersion
from mainstay.core.verdicts import Finding, Verdict
from mainstay.models.batches import answers
from mainstay.models.post import post_of
from mainstay.models.registry import Secrets
from mainstay.models.runtimes import runtime_of

CHECK = "model.http.rows"
ROWS = 3
"""Rows that are sent; a check is no load test, and what is sent leaves the house."""


def try_http(
    draft: ModelVersion, columns: Sequence[str], rows: Sequence[Sequence[Any]], secrets: Secrets
) -> Iterator[Finding]:
    """WARN where it cannot be asked from here, FAIL where it refuses; nothing where a request must bring an input."""
    if not rows or any(field.name not in columns for field in draft.signature.inputs):
        return
    prepared, found = eaten(draft, columns, rows[:ROWS])
    yield from found
    try:
        loaded = runtime_of("http").load(None, draft.given, {**draft.options, "secrets": secrets})
        try:
            given = answers(loaded, prepared)
        finally:
            loaded.close()
        post = post_of(draft)
        if post is not None:
            given = [post(answer) for answer in given]
    except ModelRefused as error:
        yield Finding(check=CHECK, verdict=Verdict.FAIL, sentence=error.sentence, mend=error.mend)
        return
    except ModelError as error:
        yield Finding(check=CHECK, verdict=Verdict.WARN, sentence=error.sentence, mend=error.mend)
        return
    yield Finding(
        check=CHECK, verdict=Verdict.PASS, sentence=f"{draft.build} answers {counted(len(given), 'row')} of the sample"
    )
