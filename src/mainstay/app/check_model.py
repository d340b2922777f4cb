"""What `mainstay check` makes of the model that answers, or would: its signature against the feature columns.

Pure, but for trying a rule on the sample's rows.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from mainstay.app.check_http import try_http
from mainstay.app.check_pre import eaten, judge_pre
from mainstay.app.inline_models import file_version
from mainstay.app.model_secrets import secrets_in
from mainstay.core.counts import counted
from mainstay.core.errors import ModelError, ModelRefused, Refused
from mainstay.core.inputs import ModelInput
from mainstay.core.nouns import ColumnType, Field, Integration, Signature
from mainstay.core.records import ModelVersion
from mainstay.core.verdicts import Finding, Verdict
from mainstay.models.fitting import fits
from mainstay.models.inputs import null
from mainstay.models.post import post_of, with_post
from mainstay.models.runtimes import runtime_of
from mainstay.serving import contract as api_contract
from mainstay.serving.bounds import refuse_unknown_patterns
from mainstay.serving.contract import ApiContract
from mainstay.spec.plain import fits as fits_type


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What is known of the model."""

    integration: Integration
    features: ModelInput | None
    """The feature sets that `model.input` means; None: the SQL of one cannot be served, or they cannot be joined."""
    answering: ModelVersion | None = None
    """The version that answers now; None: none does."""
    contract: ApiContract | None = None
    """The API contract that stands in git; None: none was written yet."""
    rows: Sequence[Sequence[Any]] = ()
    """Feature rows of the sample, values in the order of the columns."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """The model that answers once the file is applied."""

    signature: Signature
    shown: str
    imported: bool


def judge_model(facts: ModelFacts) -> tuple[list[Finding], Candidate | None]:
    """The findings about the model, and the one that will answer; None when none will, or it cannot be loaded."""
    found: list[Finding] = []
    candidate: Candidate | None = None
    inline, columns = facts.integration.model.inline, _columns(facts)
    try:
        refuse_unknown_patterns(facts.integration.model.request_inputs)
    except Refused as error:
        found.append(_finding("model.request_inputs", Verdict.FAIL, error.sentence, error.mend))
    if inline is not None and facts.features is not None:
        try:
            draft = file_version(facts.integration, facts.features, 0, "")
        except ModelError as error:
            found.append(_finding(f"model.{inline.kind}", Verdict.FAIL, error.sentence, error.mend))
        else:
            candidate = Candidate(draft.signature, f"the {inline.kind} of the file", imported=False)
            found.append(_finding(f"model.{inline.kind}", Verdict.PASS, f"the {inline.kind} loads"))
            if inline.kind == "http":
                secrets = secrets_in(facts.integration.folder, os.environ)
                found.extend(try_http(draft, [name for name, _ in columns], facts.rows, secrets))
            else:
                found.extend(try_inline(draft, facts.rows))
    version = facts.answering
    if version is not None and (version.origin == "imported" or inline is None):
        candidate = Candidate(version.signature, f"version {version.number} of {version.name}", imported=True)
        found.extend(_post(facts.integration, version))
    if facts.features is not None:
        given = [*(Field(name=name, type=kind) for name, kind in columns), *facts.integration.model.request_inputs]
        imported = version if version is not None and version.origin == "imported" else None
        found.extend(judge_pre(facts.integration.model.pre, given, imported))
    if candidate is None:
        if inline is None:
            mend = "mainstay apply, then mainstay model add FILE; or write a `constant:` to try everything else first"
            found.append(_finding("model.version", Verdict.WARN, "no model answers yet", mend))
        return found, None
    if facts.features is not None:
        found.extend(_fitting(facts, candidate, columns))
        found.extend(_unused(candidate, columns))
        if candidate.imported and version is not None:
            found.extend(_values(version, columns, facts.rows))
    return found, candidate


def _post(integration: Integration, version: ModelVersion) -> Iterator[Finding]:
    """The file's steps against the version that answers, which keeps those that it was made with."""
    if integration.model.post == version.post:
        return
    try:
        with_post(version, integration.model.post)
    except ModelRefused as error:
        yield _finding("model.post", Verdict.FAIL, error.sentence, error.mend)
        return
    sentence = f"version {version.number} answers with other steps than `model.post` says"
    yield _finding(
        "model.post", Verdict.WARN, sentence, "mainstay apply makes a version of it; then mainstay model use N"
    )


def _columns(facts: ModelFacts) -> tuple[tuple[str, ColumnType], ...]:
    return () if facts.features is None else facts.features.columns


def _fitting(facts: ModelFacts, candidate: Candidate, columns: Sequence[tuple[str, ColumnType]]) -> Iterator[Finding]:
    given = [Field(name=name, type=kind) for name, kind in columns]
    given += [] if facts.features is None else facts.features.keys
    # Outputs are held against the API contract below.
    yield from fits([*given, *facts.integration.model.request_inputs], candidate.signature.outputs, candidate.signature)
    if facts.contract is None or facts.features is None:
        return
    now = api_contract.build(facts.integration, columns, candidate.signature, keys=facts.features.keys)
    broken = api_contract.breaks(facts.contract, now)
    api = facts.integration.api
    for one in broken:
        yield msgspec.structs.replace(one, mend=f"raise `api: {api}` to {api + 1}, or take the change back")
    if not broken:
        yield _finding("api.contract", Verdict.PASS, f"contracts/api-{facts.contract.api}.json is kept")


def _unused(candidate: Candidate, columns: Sequence[tuple[str, ColumnType]]) -> Iterator[Finding]:
    if not candidate.imported or not candidate.signature.inputs:
        return  # a constant reads nothing, and a rule may use every column
    read = {field.name for field in candidate.signature.inputs}
    unused = [name for name, _ in columns if name not in read]
    if unused:
        yield _finding(
            "model.unused",
            Verdict.WARN,
            f"{candidate.shown} does not read {', '.join(unused)}",
            "leave them out of the feature SQL, or keep them for the next version",
        )


def _values(
    version: ModelVersion, columns: Sequence[tuple[str, ColumnType]], rows: Sequence[Sequence[Any]]
) -> Iterator[Finding]:
    """Nulls where the model takes none, and categories that it never saw, among the sample's rows."""
    places = {name: index for index, (name, _) in enumerate(columns)}
    for field in version.signature.inputs:
        place = places.get(field.name)
        if place is None or not rows:
            continue
        empty = sum(null(row[place]) for row in rows)
        if field.required and empty:
            sentence = (
                f"{field.name} is null in {empty:,} of {counted(len(rows), 'row')}, and the model takes no null there"
            )
            mend = f"`impute` it in `model.pre`, clean it, or make {field.name} `required` in the dataset"
            yield _finding(f"model.{field.name}.required", Verdict.WARN, sentence, mend)
    prepared, found = eaten(version, [name for name, _ in columns], rows)
    yield from found
    for place, field in enumerate(version.given.inputs):
        known = set(field.categories)
        values = [row[place] for row in prepared]
        strange = sum(1 for value in values if known and not null(value) and str(value) not in known)
        if strange:
            categories, where = counted(len(known), "category", "categories"), counted(len(rows), "row")
            sentence = f"{field.name} is none of the {categories} of training in {strange:,} of {where}"
            mend = f"map it with `clean: [{{map: ...}}]`, or check it with `values:` on {field.name}"
            yield _finding(f"model.{field.name}.categories", Verdict.WARN, sentence, mend)


def try_inline(draft: ModelVersion, rows: Sequence[Sequence[Any]]) -> Iterator[Finding]:
    """A rule's answers for the sample's rows: whether it takes them, and what it gives is as declared."""
    if draft.runtime == "constant" or not rows:
        return
    prepared, found = eaten(draft, [field.name for field in draft.signature.inputs], rows)
    yield from found
    loaded = runtime_of(draft.runtime).load(None, draft.given, draft.options)
    try:
        answers = loaded.predict(prepared)
        post = post_of(draft)
        answers = answers if post is None else [post(answer) for answer in answers]
    except ModelError as error:
        yield _finding("model.rule.rows", Verdict.FAIL, error.sentence, error.mend or "guard it: CASE, TRY_CAST")
        return
    finally:
        loaded.close()
    strange = False
    for index, field in enumerate(draft.signature.outputs):
        values = [row[index] for row in answers]
        for why, count in (
            ("null", sum(map(null, values))),
            ("outside its own min and max", sum(1 for value in values if _outside(field, value))),
        ):
            if count:
                strange = True
                sentence = f"{field.name} is {why} for {count:,} of {counted(len(rows), 'row')}"
                mend = "let the rule say what it answers there: coalesce, least, greatest"
                yield _finding(f"model.rule.{field.name}", Verdict.WARN, sentence, mend)
    if not strange:
        yield _finding("model.rule.rows", Verdict.PASS, f"the rule answers {counted(len(rows), 'row')} of the sample")


def _outside(field: Field, value: Any) -> bool:
    if null(value) or not isinstance(value, int | float):
        return False
    low = field.minimum is not None and value < field.minimum
    return low or (field.maximum is not None and value > field.maximum)


def judge_answer(integration: Integration, candidate: Candidate | None) -> Iterator[Finding]:
    """The policies, and the fallback against the outputs."""
    policies, fallback = integration.answer, integration.fallback
    falling = [name for name in policies.__struct_fields__ if getattr(policies, name) == "fallback"]
    if fallback is None:
        if falling:
            sentence = f"{', '.join(falling)}: fallback, and the file has none, so it refuses"
            yield _finding("answer.fallback", Verdict.WARN, sentence, "add `fallback: {OUTPUT: VALUE, reason: WHY}`")
    elif candidate is not None:
        wanted = {field.name: field for field in candidate.signature.outputs}
        wrong = [
            *(f"no value for {name}" for name in wanted if name not in fallback.values),
            *(f"{name}, which is no output" for name in fallback.values if name not in wanted),
            *(
                f"{name}, which is not of type {wanted[name].type}"
                for name, value in fallback.values.items()
                if name in wanted and not fits_type(value, wanted[name].type)
            ),
        ]
        if wrong:
            sentence = f"the fallback has {'; '.join(wrong)}"
            outputs = ", ".join(f"{field.name} ({field.type})" for field in wanted.values())
            yield _finding("answer.fallback", Verdict.FAIL, sentence, f"{candidate.shown} gives: {outputs}")
        else:
            yield _finding("answer.fallback", Verdict.PASS, "a fallback is given for each output")
    flagged = [name for name in ("on_stale", "on_held") if getattr(policies, name) == "flag"]
    if flagged:
        sentence = f"{', '.join(flagged)}: flag answers from such rows; whoever calls must read `verdict`"
        yield _finding("answer.flagged", Verdict.WARN, sentence, "write refuse or fallback unless every caller does")
    shown = ", ".join(f"{name}: {getattr(policies, name)}" for name in policies.__struct_fields__)
    yield _finding("answer.policies", Verdict.PASS, shown)


def _finding(check: str, verdict: Verdict, sentence: str, mend: str = "") -> Finding:
    return Finding(check=check, verdict=verdict, sentence=sentence, mend=mend)
