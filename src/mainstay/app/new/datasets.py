"""Which tables become datasets, and how: key, cursor, deletes, columns, and how they join. Asks what it cannot see."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from mainstay.app.new import inputs as matching
from mainstay.app.new.asking import Question
from mainstay.app.new.columns import ColumnPlan, names_of, propose, sql_name
from mainstay.app.new.inputs import Matched, Offered, written
from mainstay.app.new.tables import Guess, best_table, cursor_of, gone_of, keys_of, plain
from mainstay.app.new.texts import DatasetPlan
from mainstay.app.new.texts import joined as joined_by
from mainstay.app.new.work import Work
from mainstay.core.counts import counted
from mainstay.core.errors import Refused
from mainstay.core.keys import joined_key, key_names
from mainstay.core.nouns import Field
from mainstay.core.ports import TableInfo
from mainstay.quality.profile import ColumnProfile
from mainstay.sources.files_found import FORMATS, PACKED

SMALL = 20_000
"""Rows that may be read whole once a minute."""

_UNNAMING = frozenset({"float", "numeric", "bytes", "json", "array"})
"""Kinds whose equal values may have several texts: no part of a key of several columns."""


def choose_table(work: Work, fields: tuple[Field, ...]) -> str:
    """The table with one row for each answer: as said, the only one, or asked with the likeliest as the guess."""
    look, said = work.look, work.ask.said("table") or work.look.at.table
    if said:
        if look.at.kind != "files":
            look.describe(said)  # says which tables there are, when it is none of them
        return said
    if len(look.names) == 1:
        return look.names[0]
    look.describe_all()
    columns = {name: [one.name for one in info.columns] for name, info in look.tables.items()}
    names = [field.name for field in fields]
    best, count = best_table(tuple(columns), names, columns)
    why = f"it has {count} of the model's {counted(len(names), 'input')}"
    label = work.ask.said("label")
    having = [name for name, found in columns.items() if label in found]
    if not names and len(having) == 1:
        best, why = having[0], f"it alone has the column {label}"
    return work.ask(
        Question(
            what="table", text=f"Which of the {len(look.names)} tables has one row for each answer?", flag="--table",
            guess=best, evidence=why, choices=look.names,
        )
    )  # fmt: skip


def main_dataset(work: Work, table: str) -> DatasetPlan:
    """The dataset whose key is asked for: everything but its columns, which depend on what is read of it."""
    look, ask = work.look, work.ask
    info, seen = look.describe(table), look.look(table, work.say)
    key = _key(work, info, seen)
    name = dataset_name(table)
    cursor = _cursor(work, name, info, seen, said=ask.said("cursor"))
    gone = gone_of(info, seen)
    said = ask.said("deletes")
    if said and said not in {"none", "snapshot"}:
        must_have(info, said, "--deletes")
    deletes = said or (gone.taken if gone else "")
    if gone and not said:
        ask.keep(msgspec.structs.replace(gone, what=f"{name}.deletes"))
    elif not said and cursor:
        why = "no column marks deleted rows"
        ask.keep(Guess(what=f"{name}.deletes", taken="reconcile: 1h", evidence=why, flag="--deletes"))
    return _dataset(work, info, seen, name=name, key=key, cursor=cursor, deletes=deletes)


def dataset_name(table: str) -> str:
    """What a dataset of the table is called: without its schema, or its folder and endings; a name for SQL."""
    file = re.fullmatch(rf"(?:.*/)?([^/]+?)(?:{'|'.join(map(re.escape, (*FORMATS, *PACKED)))})+", table)
    return sql_name(file[1] if file else table.rsplit(".", 1)[-1])


def _dataset(
    work: Work, info: TableInfo, seen: Mapping[str, ColumnProfile], *, name: str, key: str, cursor: str, deletes: str
) -> DatasetPlan:
    """A dataset without columns yet. `key`, `cursor` and `deletes` are names of the source."""
    names = names_of(info.columns)
    keys = [names[one] for one in key_names(key)]
    rows = max(info.rows or 0, next(iter(seen.values())).rows) if seen else 0
    complete = work.look.complete.get(info.name, False)
    if complete:
        rows = next(iter(seen.values())).rows
    times = bool(cursor) and not _counts(info, cursor)
    if deletes in {"none", "snapshot"}:
        gone = deletes
    elif deletes:
        gone = f"{{column: {names[deletes]}}}"
    else:
        gone = "{reconcile: 1h}" if cursor else ""
    every, warn, fail = ("10s", "1m", "10m") if cursor else ("1m", "5m", "1h") if rows < SMALL else ("15m", "45m", "3h")
    notes = () if complete else (f"looked at: the first {counted(next(iter(seen.values())).rows, 'row')}",)
    return DatasetPlan(
        name=name, table=info.name, key=joined_key(keys), columns=(), cursor=names[cursor] if cursor else "",
        lag="2m" if times else "", deletes=gone, every=every, warn=warn, fail=fail, rows=rows, complete=complete,
        mapping=joined_key([written(one) for one in keys]), notes=notes,
        needs=(*keys, *(names[one] for one in (cursor, deletes) if one in names)),
    )  # fmt: skip


def _counts(info: TableInfo, column: str) -> bool:
    return next(one.kind for one in info.columns if one.name == column) in {"integer", "numeric"}


def must_have(info: TableInfo, column: str, flag: str) -> str:
    """The column, which must be one of the table that can be read. Raises Refused with the columns that there are."""
    able = [one.name for one in info.columns if not one.refused]
    if column not in able:
        raise Refused(f"{info.name} has no column {column} that can be read", mend=f"{flag} one of {', '.join(able)}")
    return column


def _key(work: Work, info: TableInfo, seen: Mapping[str, ColumnProfile]) -> str:
    said = work.ask.said("key")
    if said:
        return joined_key([must_have(info, one.strip(), "--key") for one in said.split(",")])
    if info.primary_key and all(_can_name(info, seen, one) for one in info.primary_key):
        return joined_key(info.primary_key)
    found = list(keys_of(info, seen))
    text = f"Which column of {info.name} names a row, or which columns do together (a,b)?"
    if len(info.primary_key) > 1:
        shown = ", ".join(info.primary_key)
        text = f"the primary key of {info.name}, ({shown}), cannot be read whole: which columns name a row (a,b)?"
    guess, evidence = found[0] if found and len(info.primary_key) < 2 else ("", "")
    choices = tuple(name for name, _ in found)
    taken = work.ask(Question(what="key", text=text, flag="--key", guess=guess, evidence=evidence, choices=choices))
    return joined_key([must_have(info, one.strip(), "--key") for one in taken.split(",")])


def _can_name(info: TableInfo, seen: Mapping[str, ColumnProfile], column: str) -> bool:
    """Whether a column of the primary key can be one of a key here: it can be read, and its values have one text."""
    one = next(each for each in info.columns if each.name == column)
    if one.refused or one.name not in seen:
        return False
    whole = one.kind == "numeric" and seen[column].all("integer")
    alone = len(info.primary_key) == 1 and one.kind not in {"float", "numeric"}
    return alone or whole or one.kind not in _UNNAMING


def _cursor(work: Work, name: str, info: TableInfo, seen: Mapping[str, ColumnProfile], *, said: str) -> str:
    """The table's cursor, empty for none. `said`: what `--cursor` did, which is about the main table alone."""
    if said == "none" or work.look.source.capabilities.ledger:
        return ""
    if said:
        return must_have(info, said, "--cursor")
    guess = cursor_of(info, seen, text=work.look.at.kind == "sqlite")
    work.ask.keep(msgspec.structs.replace(guess, what=f"{name}.cursor"))
    return guess.taken


def fed(work: Work, main: DatasetPlan, fields: tuple[Field, ...]) -> tuple[tuple[Matched, ...], list[DatasetPlan]]:
    """The model's inputs out of the main table and, where that lacks some, out of tables that join it row by row."""
    wanted = {plain(one.name): one for one in fields}
    offers, columns = offers_of(work, main, wanted)
    matched, missing = matching.match(fields, offers, work.wish.maps)
    joined: dict[str, DatasetPlan] = {}
    if missing:
        for plan in _joinable(work, main, {plain(one.name) for one in missing}):
            more, theirs = offers_of(work, plan, wanted)
            offers += more
            columns |= theirs
            joined[plan.name] = plan
        matched, missing = matching.match(fields, offers, work.wish.maps)
    if missing:
        names = ", ".join(one.name for one in missing)
        raise Refused(
            f"no column looks like {'these inputs' if len(missing) > 1 else 'this input'} of the model: {names}",
            mend=f"say which: --map {missing[0].name}=COLUMN, or an SQL expression; columns: "
            + ", ".join(one.source_name for one in offers)[:600],
        )
    used = {one.offered.dataset for one in matched if one.offered} | {
        name for name in joined for one in matched if one.offered is None and re.search(rf"\b{name}\.", one.expression)
    }
    others = [plan for name, plan in joined.items() if name in used]
    main = msgspec.structs.replace(
        main, needs=(*main.needs, *(one for plan in others for one in key_names(plan.join[1])))
    )
    plans = [main, *others]
    if others:
        plans = [msgspec.structs.replace(plan, alias=written(plan.name)) for plan in plans]
        offers = [msgspec.structs.replace(one, alias=written(one.dataset)) for one in offers]
        matched, _ = matching.match(fields, offers, work.wish.maps)
    return tuple(matched), [with_columns(work, plan, matched, columns) for plan in plans]


def offers_of(
    work: Work, plan: DatasetPlan, wanted: Mapping[str, Field]
) -> tuple[list[Offered], dict[tuple[str, str], ColumnPlan]]:
    """The table's columns as offers, each with its proposed line, made for the input that is called like it."""
    info, seen = work.look.describe(plan.table), work.look.look(plan.table, work.say)
    names = names_of(info.columns)
    mapped = {column: field for field, column in work.wish.maps.items()}
    offers, columns = [], {}
    for column in info.columns:
        if column.refused or column.name not in seen:
            continue
        name = names[column.name]
        field = wanted.get(plain(mapped.get(column.name, mapped.get(name, column.name))))
        line = propose(column, seen[column.name], name=name, key=name in key_names(plan.key), wanted=field)
        columns[plan.name, name] = line
        offers.append(Offered(dataset=plan.name, column=name, source_name=column.name, type=line.type))
    return offers, columns


def with_columns(
    work: Work, plan: DatasetPlan, matched: list[Matched], columns: Mapping[tuple[str, str], ColumnPlan]
) -> DatasetPlan:
    """The dataset with the columns that are used, in the table's order: what nobody reads stays in the old system."""
    used = {one.offered.column for one in matched if one.offered and one.offered.dataset == plan.name}
    free = " ".join(one.expression for one in matched if one.offered is None)
    used |= {name for dataset, name in columns if dataset == plan.name and re.search(rf"\b{re.escape(name)}\b", free)}
    used |= set(plan.needs)
    info = work.look.describe(plan.table)
    names = names_of(info.columns)
    there = [columns[plan.name, names[one.name]] for one in info.columns if (plan.name, names[one.name]) in columns]
    taken = tuple(one for one in there if one.name in used)
    left = tuple(one.name for one in info.columns if names[one.name] not in {each.name for each in taken})
    return msgspec.structs.replace(plan, columns=taken, left_out=left)


def _joinable(work: Work, main: DatasetPlan, missing: set[str]) -> Iterator[DatasetPlan]:
    """Other tables with a missing input that join the main one so that no row of it comes twice."""
    look = work.look
    look.describe_all()
    info = look.describe(main.table)
    names = names_of(info.columns)
    sources = {name: source for source, name in names.items()}
    keys = [sources[name] for name in key_names(main.key)]
    parents = {table: (key_names(here), key_names(there)) for here, table, there in info.references}
    for table, other in look.tables.items():
        if table == main.table or not missing & {plain(one.name) for one in other.columns}:
            continue
        theirs = names_of(other.columns)
        name = dataset_name(table)
        if table in parents:
            here, there = parents[table]
            if len(there) == len(other.primary_key) and set(there) == set(other.primary_key):
                join = joined_key([theirs[one] for one in there]), joined_key([names[one] for one in here])
                found = _other(work, main, other, name=name, key=joined_key(there), join=join, mapping="all")
                yield msgspec.structs.replace(found, parent=True)
            continue
        same = _same_key(work, main.table, keys, other)
        if same:
            own = [theirs[one] for one in same]
            mapping = joined_key([written(one) for one in own])
            yield _other(
                work, main, other, name=name, key=joined_key(same), join=(joined_key(own), main.key), mapping=mapping
            )


def _same_key(work: Work, table: str, keys: Sequence[str], other: TableInfo) -> tuple[str, ...]:
    """The columns of another table that are the main table's key and name each of its rows once; none when not."""
    there = {one.name for one in other.columns}
    if len(keys) > 1:
        return tuple(keys) if set(keys) == set(other.primary_key) else ()
    (key,) = keys
    named = next((mine for mine, table_, to in other.references if (table_, to) == (table, key)), "")
    named = named or (key if key in there else "")
    seen = work.look.look(other.name, work.say) if named else {}
    if named not in seen or seen[named].present != seen[named].distinct or not seen[named].present:
        return ()  # several rows for one key: how they come to one feature, only a person knows
    return (named,)


def _other(
    work: Work, main: DatasetPlan, info: TableInfo, *, name: str, key: str, join: tuple[str, str], mapping: str
) -> DatasetPlan:
    seen = work.look.look(info.name, work.say)
    cursor = _cursor(work, name, info, seen, said="")
    gone = gone_of(info, seen)
    if gone:
        work.ask.keep(msgspec.structs.replace(gone, what=f"{name}.deletes"))
    plan = _dataset(work, info, seen, name=name, key=key, cursor=cursor, deletes=gone.taken if gone else "")
    plan = msgspec.structs.replace(plan, join=join, needs=(*plan.needs, *key_names(join[0])), mapping=mapping)
    why = f"has inputs of the model that {main.name} lacks"
    work.ask.keep(Guess(what=f"join of {name}", taken=joined_by(plan, main), evidence=why, flag="--map"))
    return plan
