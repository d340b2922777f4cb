"""What must fit together: names that are used exist, ranges have an order, policies have what they need.

Works on the plain tree and asks for nothing but what it looks at, so that these faults are told in the same breath as
faults of shape elsewhere. What has a wrong shape is passed over; its own fault is told already.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path as FilePath
from typing import Any

from mainstay.spec import durations
from mainstay.spec.caller_faults import cross_check_callers
from mainstay.spec.column_faults import cross_check_columns, cross_check_fill, cross_check_list
from mainstay.spec.currency import cross_check_currency
from mainstay.spec.faults import Faults, Path, close, shown
from mainstay.spec.http_faults import cross_check_http
from mainstay.spec.image_faults import cross_check_images
from mainstay.spec.key_faults import cross_check_key, cross_check_mapping
from mainstay.spec.map_files import cross_check_map_files
from mainstay.spec.plain import fits, key_of, mapping, sequence, text, type_of
from mainstay.spec.post_faults import cross_check_post
from mainstay.spec.pre_faults import cross_check_pre
from mainstay.spec.profile_files import cross_check_profiles
from mainstay.spec.reference_faults import cross_check_references
from mainstay.spec.request_faults import cross_check_requests
from mainstay.spec.retired import cross_check_retired

_POLICIES = ("on_warn", "on_stale", "on_held", "on_missing", "on_deleted", "on_error")


def cross_check(tree: dict[str, Any], files: Mapping[str, str], faults: Faults) -> None:
    """Tells every fault between parts of the file. `files`: the texts that lie beside it, by relative path."""
    datasets, features = mapping(tree.get("datasets")), mapping(tree.get("features"))
    for name, dataset in datasets.items():
        _dataset(("datasets", name), mapping(dataset), mapping(tree.get("sources")), faults)
    cross_check_references(datasets, faults)
    cross_check_currency(datasets, faults)
    cross_check_map_files(tree, files, faults)
    cross_check_profiles(tree, files, faults)
    for name, feature in features.items():
        _feature(("features", name), mapping(feature), datasets, files, faults)
    for part in ("datasets", "features"):
        _same_but_case((part,), mapping(tree.get(part)), faults)
    _model(mapping(tree.get("model")), features, faults)
    _answer(tree, faults)
    cross_check_retired(mapping(tree.get("retired")), faults)
    cross_check_callers(tree, faults)


def _dataset(path: Path, dataset: dict[str, Any], sources: dict[str, Any], faults: Faults) -> None:
    source, columns = text(dataset.get("source")), mapping(dataset.get("columns"))
    if source and source not in sources:
        faults.at((*path, "source"), "a source of this file", shown(source), close(source, sources))
    _same_but_case((*path, "columns"), columns, faults)
    _columns_that_are_named(path, dataset, columns, faults)
    _cursor(path, dataset, columns, faults)
    _deletes(path, dataset, faults)
    _freshness((*path, "freshness"), mapping(dataset.get("freshness")), faults)
    cross_check_columns((*path, "columns"), columns, faults)
    cross_check_fill((*path, "columns"), columns, key_of(dataset), faults)
    cross_check_key(path, dataset, columns, faults)
    cross_check_list((*path, "checks"), sequence(dataset.get("checks")), columns, faults)


def _columns_that_are_named(path: Path, dataset: dict[str, Any], columns: dict[str, Any], faults: Faults) -> None:
    if not columns:
        return
    read = {*columns, text(mapping(dataset.get("cursor")).get("column"))}
    read = {*read, text(mapping(dataset.get("deletes")).get("column"))} - {""}
    for where, value in (
        ((*path, "event_time"), dataset.get("event_time")),
        ((*path, "duplicates", "by"), mapping(dataset.get("duplicates")).get("by")),
    ):
        if text(value) and value not in read:
            faults.at(where, "a column that is read", shown(value), close(str(value), read))
    moment = type_of(columns, text(dataset.get("event_time")))
    if moment not in {"", "date", "timestamp"}:
        mend = "name a column of type timestamp or date"
        faults.at((*path, "event_time"), "a column that is a time", f"one of type {moment}", mend)


def _cursor(path: Path, dataset: dict[str, Any], columns: dict[str, Any], faults: Faults) -> None:
    cursor = mapping(dataset.get("cursor"))
    kind, lag = type_of(columns, text(cursor.get("column"))), cursor.get("lag")
    where = (*path, "cursor", "lag")
    if kind in {"date", "timestamp"} and isinstance(lag, int):
        faults.at(where, "a duration, for the cursor is a time", shown(lag), f"say the unit: {lag}s, {lag}m or {lag}h")
    if kind in {"integer", "number"} and isinstance(lag, str):
        faults.at(where, "a whole number, for the cursor is a number", shown(lag), "write 1000, say")


def _deletes(path: Path, dataset: dict[str, Any], faults: Faults) -> None:
    deletes, where = dataset.get("deletes"), (*path, "deletes")
    snapshots = "cursor" not in dataset
    if deletes == "snapshot" and not snapshots:
        mend = "write {reconcile: 24h}, {column: deleted_at} or none"
        faults.at(where, "a way to see deletes with a cursor", "'snapshot', which needs full reads", mend)
    if not isinstance(deletes, dict):
        return
    if "column" in deletes and "reconcile" in deletes:
        faults.at((*where, "reconcile"), "one way to see deletes", "two", "keep `column` or `reconcile`", key=True)
    if "reconcile" in deletes and snapshots:
        mend = "delete it: without a cursor every read is complete and shows what is gone"
        faults.at((*where, "reconcile"), "a cursor beside `reconcile`", "none", mend, key=True)
    if not {"column", "reconcile"} & set(deletes) and not snapshots:
        faults.at(where, "`reconcile` or `column`", shown(deletes), "write {reconcile: 24h}")
    if "column" in deletes and "max_share" in deletes:
        mend = "delete it: deletes by a column come one by one"
        faults.at((*where, "max_share"), "`max_share` beside `reconcile`", "beside `column`", mend, key=True)


def _freshness(path: Path, freshness: dict[str, Any], faults: Faults) -> None:
    warn, fail = freshness.get("warn"), freshness.get("fail")
    try:
        wrong = warn is not None and fail is not None and durations.parse(warn) > durations.parse(fail)
    except durations.DurationError:
        return
    if wrong:
        faults.at((*path, "warn"), f"at most the `fail` of {fail}", shown(warn), "swap the two, or lower `warn`")


def _feature(
    path: Path, feature: dict[str, Any], datasets: dict[str, Any], files: Mapping[str, str], faults: Faults
) -> None:
    for name in mapping(feature.get("from")):
        if name not in datasets:
            faults.at((*path, "from", name), "a dataset of this file", shown(name), close(name, datasets), key=True)
    cross_check_mapping(path, feature, faults)
    sql = text(feature.get("sql"))
    where = (*path, "sql")
    if not is_path(sql):
        return
    if FilePath(sql).is_absolute():
        faults.at(
            where, "a path that starts at the folder of mainstay.yaml", shown(sql), "write it relative to the file"
        )
    elif sql_path(sql) not in files:
        mend = close(sql, [each for each in files if each.endswith(".sql")], otherwise="create the file")
        faults.at(where, "a file of SQL", f"no readable file {sql}", mend)
    elif not files[sql_path(sql)].strip():
        faults.at(where, "a file of SQL", f"{sql}, which is empty", "write one row per key: SELECT ...")


def is_path(sql: str) -> bool:
    """Whether `sql:` names a file: it ends in .sql and is one word."""
    return sql.endswith(".sql") and len(sql.split()) == 1


def sql_path(sql: str) -> str:
    """The path under which a named file's text is kept."""
    return os.path.normpath(sql).replace(os.sep, "/")


def _model(model: dict[str, Any], features: dict[str, Any], faults: Faults) -> None:
    _input(model.get("input"), features, faults)
    kinds = [kind for kind in ("constant", "rule", "http") if kind in model]
    for kind in kinds[1:]:
        faults.at(("model", kind), "one model", f"a {' and a '.join(kinds)}", "delete one of them", key=True)
    cross_check_http(("model", "http"), model, faults)
    cross_check_images(("model", "request_inputs"), mapping(model.get("request_inputs")), faults)
    cross_check_pre(("model", "pre"), sequence(model.get("pre")), model, faults)
    cross_check_post(("model", "post"), sequence(model.get("post")), faults)
    cross_check_requests(("model", "request_inputs"), mapping(model.get("request_inputs")), faults)
    values = mapping(model.get("constant"))
    names = inline_outputs(model)
    for name, field in mapping(model.get("outputs")).items():
        where = ("model", "outputs", name)
        if not names:
            mend = "delete it: a trained model's outputs are told at `mainstay model add`"
            faults.at(("model", "outputs"), "`constant`, `rule` or `http` beside it", "none of them", mend, key=True)
        elif name not in names:
            faults.at(where, "an output of the model", shown(name), close(name, names), key=True)
        _output(mapping(field), name, values, faults)
    if "reason" in names:
        of = "constant" if "reason" in values else "rule" if "rule" in model else "outputs"
        where = ("model", of, "reason")
        faults.at(where, "another name: `reason` says why in `fallback:`", "'reason'", "rename it", key=True)


def _input(said: object, features: dict[str, Any], faults: Faults) -> None:
    given = sequence(said) if isinstance(said, list) else [said]
    for place, name in enumerate(given):
        if text(name) and name not in features:
            where = ("model", "input", place) if isinstance(said, list) else ("model", "input")
            faults.at(where, "a feature view of this file", shown(name), close(str(name), features))


def _output(field: dict[str, Any], name: str, values: dict[str, Any], faults: Faults) -> None:
    value, kind = values.get(name), text(field.get("type"))
    if name in values and kind and not fits(value, kind):
        faults.at(("model", "constant", name), f"a value of type {kind}", shown(value), "change the value or its type")
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return
    least, greatest = field.get("min"), field.get("max")
    if (isinstance(least, (int, float)) and value < least) or (isinstance(greatest, (int, float)) and value > greatest):
        came = f"{shown(value)}, outside its own min and max"
        faults.at(
            ("model", "constant", name), "a value inside the output's range", came, "change the value or the range"
        )


def inline_outputs(model: dict[str, Any]) -> tuple[str, ...]:
    """Names of the outputs of a model that stands in the file, in order; empty when none does."""
    told = mapping(model.get("outputs")) if "http" in model else {}
    return tuple(mapping(model.get("constant")) or mapping(model.get("rule")) or told)


def _answer(tree: dict[str, Any], faults: Faults) -> None:
    answer = mapping(tree.get("answer"))
    for policy in _POLICIES:
        if answer.get(policy) == "fallback" and "fallback" not in tree:
            mend = "add `fallback: {OUTPUT: VALUE, reason: WHY}`, or write refuse"
            faults.at(("answer", policy), "a `fallback:` in the file", "none", mend)
        if answer.get(policy) == "flag" and policy in {"on_missing", "on_deleted"}:
            faults.at(("answer", policy), "refuse or fallback", "'flag', but there is no row to flag", "write refuse")
    model = mapping(tree.get("model"))
    # What leaves `post` is known when the steps meet the model: `mainstay check` holds the fallback against that.
    fallback, names = mapping(tree.get("fallback")), () if model.get("post") else inline_outputs(model)
    if not fallback:
        return
    if "reason" in fallback and not isinstance(fallback["reason"], str):
        faults.at(("fallback", "reason"), "a text", shown(fallback["reason"]), "say why in words")
    if not set(fallback) - {"reason"}:
        faults.at(("fallback",), "a value for each output", "none", "add `OUTPUT: VALUE`", key=True)
    for name in fallback:
        if names and name not in names and name != "reason":
            faults.at(("fallback", name), "an output of the model", shown(name), close(name, names), key=True)
    for name in names:
        if name not in fallback and len(fallback) > ("reason" in fallback):
            faults.at(("fallback", name), "a value for each output", f"none for `{name}`", f"add `{name}: VALUE`")


def _same_but_case(path: Path, names: Iterable[str], faults: Faults) -> None:
    """SQL does not tell `Name` from `name`."""
    counted = Counter(name.casefold() for name in names)
    for name in names:
        if counted[name.casefold()] > 1:
            faults.at((*path, name), "names that differ by more than their case", shown(name), "rename one", key=True)
