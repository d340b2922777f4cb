"""The checked shape -> core nouns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from mainstay.core import nouns, nouns_callers, nouns_listeners
from mainstay.core.keys import key_names
from mainstay.core.nouns import Check, Cleaning, ColumnType
from mainstay.core.verdicts import OnFail
from mainstay.spec import currency, durations, map_files, retired, shape, shape_image, shape_steps, wider
from mainstay.spec.crosschecks import is_path, sql_path
from mainstay.spec.shape_callers import CallersPart, OidcPart

MATCHED_MOST = 1_000
"""Characters of a request-time input with a pattern, where the file gives no length: a match takes time."""


def integration(
    file: shape.FilePart, *, options: Mapping[str, dict[str, Any]], files: Mapping[str, str], digest: str, folder: str
) -> nouns.Integration:
    """The whole file. `options`: each source's, placeholders replaced. `files`: texts by relative path."""
    return nouns.Integration(
        name=file.integration,
        api=file.api,
        purpose=_purpose(file.purpose),
        sources={name: _source(name, source, options[name]) for name, source in file.sources.items()},
        datasets={name: _dataset(name, dataset, files) for name, dataset in file.datasets.items()},
        features={name: _feature(name, feature, files) for name, feature in file.features.items()},
        model=_model(file.model),
        answer=nouns.AnswerPolicy(**file.answer.model_dump()),
        fallback=_fallback(file.fallback),
        settings=_settings(file),
        card=nouns.Card(origins=tuple(file.card.origins)),
        cors=nouns.Cors(origins=tuple(file.cors.origins)),
        retired=retired.built(file.retired),
        callers=_callers(file.callers),
        digest=digest,
        folder=folder,
    )


def _purpose(part: shape.PurposePart) -> nouns.Purpose:
    return nouns.Purpose(
        problem=part.problem,
        workflow=part.workflow,
        users_who=part.users.who,
        users_seats=part.users.seats,
        kpis=tuple(nouns.Kpi(**kpi.model_dump()) for kpi in part.kpis),
        agreed_by=tuple((each.role, each.on) for each in part.agreed_by),
        review_after_us=part.review.after if part.review else None,
    )


def _source(name: str, part: shape.SourcePart, options: dict[str, Any]) -> nouns.SourceConfig:
    guard = part.guard
    return nouns.SourceConfig(
        name=name,
        kind=part.kind,
        options=options,
        timezone=part.timezone,
        guard=nouns.Guard(
            connections=guard.connections,
            statement_timeout_us=guard.statement_timeout,
            connect_timeout_us=guard.connect_timeout,
            allowed_hours=guard.allowed_hours,
            backfill_hours=guard.backfill_hours,
            backfill_rows=guard.backfill_rows,
            retry_first_us=guard.retry_first,
            retry_most_us=guard.retry_most,
        ),
    )


def _dataset(name: str, part: shape.DatasetPart, files: Mapping[str, str]) -> nouns.Dataset:
    fresh = part.freshness
    return nouns.Dataset(
        name=name,
        source=part.source,
        table=part.table,
        key=part.key,
        columns=tuple(_column(each, column, key_names(part.key), files) for each, column in part.columns.items()),
        checks=checks(name, part, files),
        cursor=_cursor(part.cursor),
        deletes=_deletes(part),
        duplicates=nouns.Duplicates(keep=part.duplicates.keep, by=part.duplicates.by, on_fail=part.duplicates.on_fail),
        event_time=part.event_time,
        every_us=part.every,
        owner=part.owner,
        freshness=nouns.Freshness(warn_us=fresh.warn, fail_us=fresh.fail, newest_us=fresh.newest),
        schema_drift=nouns.SchemaDrift(**part.schema_drift.model_dump()),
    )


def _column(name: str, part: shape.ColumnPart, key: Sequence[str], files: Mapping[str, str]) -> nouns.Column:
    return nouns.Column(
        name=name,
        type=part.type,
        source_name=part.source_name[0] if part.source_name else name,
        source_names=part.source_name if len(part.source_name) > 1 else (),
        # A null names no row, so the key is required whether the file says it or not.
        required=part.required or name in key,
        clean=tuple(_step(step, files) for step in part.clean),
        fill=part.fill,
        pii=part.pii,
        unit=part.unit,
        description=part.description,
    )


def _step(step: str | shape.CleanStep, files: Mapping[str, str]) -> Cleaning:
    if isinstance(step, str):
        return Cleaning(kind=step, args={"languages": ["en"]} if step == "country" else {})
    if step.null_if is not None:
        return Cleaning(kind="null_if", args={"values": step.null_if})
    if step.number is not None:
        return Cleaning(kind="number", args=step.number.model_dump())
    if step.date is not None:
        return Cleaning(kind="date", args={"formats": step.date})
    if step.boolean is not None:
        return Cleaning(kind="boolean", args={"true": step.boolean.true_words, "false": step.boolean.false_words})
    if step.map is not None:
        return Cleaning(kind="map", args={"values": step.map})
    if step.map_file is not None:
        return Cleaning(kind="map", args={"values": map_files.pairs(files[map_files.path(step.map_file)])})
    return _form(step)


def _form(step: shape.CleanStep) -> Cleaning:
    if step.unit is not None:
        return Cleaning(kind="unit", args={"from": step.unit.old, "to": step.unit.new})
    if step.currency is not None:
        return Cleaning(kind="currency", args=currency.arguments(step.currency))
    if step.phone is not None:
        return Cleaning(kind="phone", args={"country": step.phone.country})
    if step.country is not None:
        return Cleaning(kind="country", args={"languages": step.country.languages})
    return Cleaning(kind="unicode", args={"form": step.unicode})


def checks(dataset: str, part: shape.DatasetPart, files: Mapping[str, str]) -> tuple[Check, ...]:
    """Every check of a dataset: its columns' in file order, then the listed ones, each with a name of its own."""
    found: list[tuple[Check, bool]] = []
    for name, column in part.columns.items():
        found.extend((check, False) for check in _column_checks(name, column, required=name in key_names(part.key)))
    found.extend((_listed(entry, dataset, files), bool(entry.name)) for entry in part.checks)
    return tuple(_named(found))


def _column_checks(name: str, part: shape.ColumnPart, *, required: bool) -> Iterable[Check]:
    asked: list[tuple[str, dict[str, Any], bool]] = [
        ("type", {}, True),
        ("required", {}, part.required or required),
        ("min", {"value": part.minimum}, part.minimum is not None),
        ("max", {"value": part.maximum}, part.maximum is not None),
        ("length", _limits(part.length), part.length is not None),
        ("pattern", {"regex": part.pattern}, part.pattern is not None),
        ("values", {"values": part.values}, part.values is not None),
        ("unique", {}, part.unique),
        *(("currency", args, True) for args in currency.of_column(part)),
    ]
    for kind, args, wanted in asked:
        if wanted:
            yield Check(
                name=f"{name}.{kind}", kind=kind, column=name, args=args, on_fail=part.on_fail, max_share=part.max_share
            )


def _listed(entry: shape.CheckPart, dataset: str, files: Mapping[str, str]) -> Check:
    kind, column, args = wider.kind(entry, dataset, files) or _kind(entry)
    on_fail: OnFail = entry.on_fail or _ON_FAIL.get(kind, "quarantine")
    of = column or "+".join(args.get("columns", ()))
    name = entry.name or (f"{of}.{kind}" if of else kind)
    return Check(name=name, kind=kind, column=column, args=args, on_fail=on_fail, max_share=entry.max_share)


_ON_FAIL: Mapping[str, OnFail] = {"row_count": "block", "aggregate": "block", "volume": "warn", "distribution": "warn"}
"""Kind of check -> what its failure does where the entry does not say; every other kind quarantines."""


def _kind(entry: shape.CheckPart) -> tuple[str, str | None, dict[str, Any]]:
    if entry.row_count is not None:
        return "row_count", None, _limits(entry.row_count)
    if isinstance(entry.unique, list):
        return "unique", None, {"columns": entry.unique}
    if entry.unique is not None:
        return "unique", entry.unique, {}
    if entry.required is not None:
        return "required", entry.required, {}
    if entry.minimum is not None:
        return "min", entry.minimum.column, {"value": entry.minimum.value}
    if entry.maximum is not None:
        return "max", entry.maximum.column, {"value": entry.maximum.value}
    if entry.length is not None:
        return "length", entry.length.column, _limits(entry.length)
    if entry.pattern is not None:
        return "pattern", entry.pattern.column, {"regex": entry.pattern.regex}
    if entry.values is not None:
        return "values", entry.values.column, {"values": entry.values.values}
    if entry.references is not None:
        return _references(entry.references)
    if entry.monotone is not None:
        return "monotone", entry.monotone, {}
    return "aggregate" if entry.over == "dataset" else "sql", None, {"condition": entry.sql}


def _references(said: shape.ReferencesCheck) -> tuple[str, str | None, dict[str, Any]]:
    if isinstance(said.column, list):
        return "references", None, {"columns": said.column, "dataset": said.dataset}
    return "references", said.column, {"dataset": said.dataset}


def _limits(part: shape.RowCount | shape.LengthPart | None) -> dict[str, int]:
    bounds = {} if part is None else {"min": part.minimum, "max": part.maximum}
    return {name: bound for name, bound in bounds.items() if bound is not None}


def _named(found: list[tuple[Check, bool]]) -> Iterable[Check]:
    """What the user called a check stands; a default name that is taken gets a number."""
    taken = {check.name for check, by_user in found if by_user}
    for check, by_user in found:
        name, number = check.name, 2
        while not by_user and name in taken:
            name, number = f"{check.name}_{number}", number + 1
        taken.add(name)
        yield msgspec.structs.replace(check, name=name)


def _cursor(part: shape.CursorPart | None) -> nouns.Cursor | None:
    if part is None:
        return None
    if isinstance(part.lag, int):
        return nouns.Cursor(column=part.column, lag_number=part.lag)
    return nouns.Cursor(column=part.column, lag_us=durations.parse(part.lag))


def _deletes(part: shape.DatasetPart) -> nouns.Deletes:
    said = part.deletes
    if said is None:
        return nouns.Deletes(kind="none" if part.cursor else "snapshot")
    if isinstance(said, str):
        return nouns.Deletes(kind=said)
    share = nouns.Deletes(kind="none").max_share if said.max_share is None else said.max_share
    if said.column is not None:
        return nouns.Deletes(kind="column", column=said.column, max_share=share)
    if said.reconcile is not None:
        return nouns.Deletes(kind="reconcile", every_us=said.reconcile, max_share=share)
    return nouns.Deletes(kind="snapshot", max_share=share)


def _feature(name: str, part: shape.FeaturePart, files: Mapping[str, str]) -> nouns.FeatureView:
    path = sql_path(part.sql) if is_path(part.sql) else ""
    return nouns.FeatureView(
        name=name,
        key=part.key,
        mapping=part.mapping,
        sql=files[path] if path else part.sql,
        path=path,
        refresh_us=part.refresh,
    )


def _field(name: str, part: shape.FieldPart, kind: ColumnType, *, required: bool = False) -> nouns.Field:
    return nouns.Field(
        name=name,
        type=part.type or kind,
        required=required,
        unit=part.unit,
        meaning=part.meaning,
        minimum=part.minimum,
        maximum=part.maximum,
    )


def _request_input(name: str, part: shape.RequestInput) -> nouns.Field:
    field = _field(name, part, part.type, required=part.required)
    length = part.length or shape.LengthPart()
    longest = length.maximum
    if part.pattern and longest is None:
        longest = MATCHED_MOST
    limits = nouns.Limits(
        values=tuple(part.values or ()),
        shortest=length.minimum,
        longest=longest,
        pattern=part.pattern or "",
        example=part.example,
    )
    return field if limits == nouns.Limits() else msgspec.structs.replace(field, limits=limits)


def _model(part: shape.ModelPart) -> nouns.ModelConfig:
    inputs = part.request_inputs.items()
    return nouns.ModelConfig(
        name=part.name,
        input=part.views[0],
        also=tuple(part.views[1:]),
        inline=_inline(part),
        request_inputs=tuple(_request_input(name, each) for name, each in inputs),
        images={name: _image(each.image) for name, each in inputs if each.image is not None},
        timeout_us=part.timeout,
        queue_us=part.queue,
        batching=part.batching,
        pre=tuple(step for each in part.pre for step in _pre(each)),
        post=tuple(_post(step) for step in part.post),
    )


def _image(part: shape_image.ImagePart) -> nouns.ImageInput:
    said = part.model_dump()
    width, height = said.pop("size")
    return msgspec.convert({"width": width, "height": height, **said}, nouns.ImageInput)


def _pre(step: shape_steps.PreStepPart) -> Iterator[nouns.PreStep]:
    """The one step that is given, `impute` as one for each column."""
    ((kind, said),) = step.model_dump(by_alias=True, exclude_none=True).items()
    each = [{"of": name, "with": value} for name, value in said.items()] if kind == "impute" else [said]
    for args in each:
        yield msgspec.convert({"kind": kind, "args": args}, nouns.PreStep)


def _post(step: shape_steps.PostStepPart) -> nouns.PostStep:
    """The one step that is given, its arguments by the file's names."""
    ((kind, said),) = step.model_dump(by_alias=True, exclude_none=True).items()
    return msgspec.convert({"kind": kind, "args": said}, nouns.PostStep)


def _inline(part: shape.ModelPart) -> nouns.InlineModel | None:
    if part.constant is not None:
        outputs = tuple(
            _field(name, part.outputs.get(name, shape.FieldPart()), _type_of(value))
            for name, value in part.constant.items()
        )
        return nouns.InlineModel(kind="constant", outputs=outputs, values=part.constant)
    if part.rule is not None:
        outputs = tuple(_field(name, part.outputs.get(name, shape.FieldPart()), "number") for name in part.rule)
        return nouns.InlineModel(kind="rule", outputs=outputs, rules=part.rule)
    if part.http is not None:
        outputs = tuple(_field(name, field, "number") for name, field in part.outputs.items())
        said: dict[str, Any] = {"read_timeout": part.timeout, **part.http.model_dump(exclude_defaults=True)}
        return nouns.InlineModel(kind="http", outputs=outputs, options=said)
    return None


def _type_of(value: object) -> ColumnType:
    if isinstance(value, bool):
        return "boolean"
    return "string" if isinstance(value, str) else "number"


def _fallback(part: dict[str, Any] | None) -> nouns.Fallback | None:
    if part is None:
        return None
    values = {name: value for name, value in part.items() if name != "reason"}
    return nouns.Fallback(values=values, reason=part.get("reason", ""))


def _settings(file: shape.FilePart) -> nouns.Settings:
    kept: dict[str, int | None] = file.retention.model_dump()
    return nouns.Settings(
        durability=file.settings.durability,
        without_receipt=file.settings.without_receipt,
        workers=file.settings.workers,
        host=file.settings.host,
        port=file.settings.port,
        status_page=_status_page(file.settings.status_page),
        grpc=_listener(file.settings.grpc),
        stop_after_us=file.settings.stop_after,
        arrive_within_us=file.settings.arrive_within,
        free_disk=_free_disk(file.settings.free_disk),
        rate=file.settings.rate,
        tls=None if file.settings.tls is None else nouns_callers.Tls(**file.settings.tls.model_dump()),
        retention_us={role: duration for role, duration in kept.items() if duration is not None},
    )


def _callers(part: CallersPart) -> nouns_callers.CallersConfig:
    return nouns_callers.CallersConfig(
        certificates=tuple(
            nouns_callers.CertificateCaller(
                name=one.name, subject=one.subject or "", san=one.san or "", role=one.role, rate=one.rate
            )
            for one in part.certificates
        ),
        oidc=tuple(_issuer(one) for one in part.oidc),
    )


def _issuer(one: OidcPart) -> nouns_callers.OidcIssuer:
    roles = None if one.roles is None else nouns_callers.ClaimedRoles(claim=one.roles.claim, values=one.roles.values)
    return nouns_callers.OidcIssuer(
        name=one.name,
        issuer=one.issuer,
        audience=(one.audience,) if isinstance(one.audience, str) else tuple(one.audience),
        jwks_url=one.jwks_url or "",
        algorithms=tuple(one.algorithms),
        role=one.role,
        roles=roles,
        scopes=tuple(one.scopes),
        skew_us=one.skew,
        rate=one.rate,
    )


def _status_page(part: shape.StatusPagePart | None) -> nouns_listeners.StatusPage | None:
    if part is None:
        return None
    return nouns_listeners.StatusPage(port=part.port, host=part.host, control=part.control == "on")


def _listener(part: shape.ListenerPart | None) -> nouns_listeners.Listener | None:
    return None if part is None else nouns_listeners.Listener(port=part.port, host=part.host)


def _free_disk(said: tuple[float | None, int] | None) -> nouns.FreeDisk:
    return nouns.FreeDisk() if said is None else nouns.FreeDisk(share=said[0], size=said[1])
