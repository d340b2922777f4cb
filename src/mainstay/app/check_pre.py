"""What `mainstay check` makes of `model.pre`: against the columns, the sample and the version that answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from mainstay.core.counts import counted
from mainstay.core.errors import ModelRefused
from mainstay.core.nouns import Field, PreStep
from mainstay.core.records import ModelVersion
from mainstay.core.verdicts import Finding, Verdict
from mainstay.models.pre import Pre, declared, pre_of, with_pre

CHECK = "model.pre"


def judge_pre(steps: Sequence[PreStep], columns: Sequence[Field], version: ModelVersion | None) -> Iterator[Finding]:
    """The file's steps against the columns, and against the version that answers, which keeps its own.

    `columns`: what a row may carry. `version`: the imported one that answers; None where there is none.
    """
    if not steps and not (version is not None and version.pre):
        return
    try:
        Pre(steps, columns)
        if version is not None and declared(with_pre(version, steps, columns).pre) != declared(version.pre):
            sentence = f"version {version.number} answers with other steps than `model.pre` says"
            mend = "mainstay model add FILE makes a version with the steps of the file; then mainstay model use N"
            yield Finding(check=CHECK, verdict=Verdict.WARN, sentence=sentence, mend=mend)
            return
    except ModelRefused as error:
        yield Finding(check=CHECK, verdict=Verdict.FAIL, sentence=error.sentence, mend=error.mend)
        return
    sentence = f"the {counted(len(steps), 'step of `model.pre` fits', 'steps of `model.pre` fit')} the columns"
    yield Finding(check=CHECK, verdict=Verdict.PASS, sentence=sentence)


def eaten(
    version: ModelVersion, columns: Sequence[str], rows: Sequence[Sequence[Any]]
) -> tuple[list[Sequence[Any]], list[Finding]]:
    """The sample's rows as the model will eat them, in the order of its own inputs; and how many have no answer.

    What is no column is null: it comes with the request.
    """
    places = {name: place for place, name in enumerate(columns)}
    order = [places.get(field.name) for field in version.signature.inputs]
    given = [[None if place is None else row[place] for place in order] for row in rows]
    steps = pre_of(version)
    if steps is None:
        return list(given), []
    made: list[Sequence[Any]] = []
    why: ModelRefused | None = None
    for row in given:
        try:
            made.append(steps(row).row)
        except ModelRefused as error:
            why = why or error
    if why is None:
        return made, []
    sentence = f"{len(rows) - len(made):,} of {counted(len(rows), 'row')} get no answer: {why.sentence}"
    return made, [Finding(check=f"{CHECK}.rows", verdict=Verdict.WARN, sentence=sentence, mend=why.mend)]
