"""What was found and guessed -> the files of an installation, as a careful person would have written them. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from mainstay.app.new.columns import ColumnPlan
from mainstay.app.new.inputs import Matched, written
from mainstay.app.new.tables import Guess
from mainstay.core.keys import key_names

WIDTH = 100
"""Columns of the file behind which a comment goes above its line."""


class DatasetPlan(msgspec.Struct, frozen=True, kw_only=True):
    """One dataset as it will be written."""

    name: str
    table: str
    key: str
    columns: tuple[ColumnPlan, ...]
    cursor: str = ""
    lag: str = ""
    deletes: str = ""
    """The setting's value, as YAML; empty: left out."""
    every: str = "1m"
    warn: str = "5m"
    fail: str = "1h"
    rows: int = 0
    complete: bool = True
    """Whether `rows` is all that there are."""
    left_out: tuple[str, ...] = ()
    """Columns of the table that are not read."""
    mapping: str = ""
    """How its rows map to the key of the features: a column, or `all`."""
    alias: str = ""
    join: tuple[str, str] = ("", "")
    """For all but the first: its column, and that of the first dataset, which are equal where rows belong together."""
    parent: bool = False
    """Whether a foreign key of the first dataset is what joins it."""
    needs: tuple[str, ...] = ()
    """Columns that are read whatever the features read: key, cursor, delete flag, what joins."""
    notes: tuple[str, ...] = ()


class Inline(msgspec.Struct, frozen=True, kw_only=True):
    """The constant or the rule that answers first."""

    constant: Mapping[str, float] = {}
    rule: Mapping[str, str] = {}
    meaning: str = ""
    probability: bool = False


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the files say."""

    name: str
    source: str
    kind: str
    address: str
    """The line of the address: `url: ${file:...}`."""
    timezone: str = ""
    owner: str = ""
    purpose: Mapping[str, str] = {}
    datasets: tuple[DatasetPlan, ...]
    view: str
    matched: tuple[Matched, ...] = ()
    features: tuple[str, ...] = ()
    """Without a model: columns of the first dataset that become features."""
    inline: Inline | None = None
    """What answers until there is a trained model; None: there is one."""
    model: str = ""
    """The file of the trained model."""
    port: int | None = None
    """Where the API listens; None: the default."""
    guesses: tuple[Guess, ...] = ()


def scalar(value: object) -> str:
    """A value as YAML in flow style, quoted where YAML would read something else."""
    if isinstance(value, str):
        plain = re.fullmatch(r"[A-Za-z][A-Za-z0-9_./ -]*[A-Za-z0-9_.]|[A-Za-z]", value)
        if plain and value.casefold() not in _WORDS and not re.fullmatch(r"[A-Za-z]?\.(inf|nan)", value.casefold()):
            return value
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{scalar(key)}: {scalar(each)}" for key, each in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(scalar, value)) + "]"
    return repr(value) if isinstance(value, float) else str(value)


_WORDS = {"true", "false", "yes", "no", "on", "off", "null", "y", "n", "none", "~"}


def main_file(plan: Plan) -> str:
    """The text of mainstay.yaml."""
    return "\n".join(_lines(plan)) + "\n"


def _lines(plan: Plan) -> Iterator[str]:
    yield f"# {plan.name}: written by `mainstay new` from what it saw. Each `guess` stands with its evidence: look at"
    yield "# them, change what is wrong, then `mainstay check` and `mainstay apply`. Every setting: docs/file.md."
    yield f"integration: {plan.name}"
    yield "api: 1"
    yield ""
    yield from _purpose(plan)
    yield ""
    yield "sources:"
    yield f"  {plan.source}:"
    yield f"    kind: {plan.kind}"
    yield f"    {plan.address}"
    if plan.timezone:
        yield from _guessed(plan, "timezone", f"    timezone: {plan.timezone}")
    yield "    guard: {connections: 2, statement_timeout: 30s}  # what the old system may be asked of"
    yield ""
    yield "datasets:"
    for index, dataset in enumerate(plan.datasets):
        yield from _dataset(plan, dataset, first=index == 0)
    yield ""
    yield "features:"
    yield f"  {plan.view}:"
    yield f"    key: {_listed(plan.datasets[0].key)}"
    yield "    from: " + scalar({one.name: _mapped(one.mapping) for one in plan.datasets})
    yield f"    sql: features/{plan.view}.sql"
    yield ""
    yield from _model(plan)


def _purpose(plan: Plan) -> Iterator[str]:
    """The parts that were said, and the questions that were not answered: `check` asks them until they are."""
    questions = {
        "problem": "What goes wrong today, in a sentence?",
        "workflow": "Where does the answer stand, and what does a person then do?",
        "users": "Who sees it, and how many are they? {who: account managers, seats: 40}",
        "kpis": "Which figures must move? [{name: customers kept a month, baseline: 31, target: 45}]",
        "agreed_by": "Who agreed to it, and when? [{role: head of retention, on: 2026-11-01}]",
        "review": "When is it judged? {after: 90d}",
    }
    said = {name: text for name, text in plan.purpose.items() if text}
    yield "purpose:" if said else "# purpose:"
    for name, question in questions.items():
        if name in said:
            value = said[name]
            yield f"  {name}: {value if name in {'users', 'review'} else scalar(value)}"
        else:
            yield f"  # {name}: {question}"


def _dataset(plan: Plan, dataset: DatasetPlan, *, first: bool) -> Iterator[str]:
    yield f"  {dataset.name}:"
    for note in dataset.notes:
        yield f"    # {note}"
    yield f"    source: {plan.source}"
    yield f"    table: {scalar(dataset.table)}"
    yield from _guessed(plan, "key" if first else f"{dataset.name}.key", f"    key: {_listed(dataset.key)}")
    cursor = f"    cursor: {{column: {dataset.cursor}" + (f", lag: {dataset.lag}" if dataset.lag else "") + "}"
    yield from _guessed(plan, f"{dataset.name}.cursor", cursor if dataset.cursor else "")
    yield from _guessed(plan, f"{dataset.name}.deletes", f"    deletes: {dataset.deletes}" if dataset.deletes else "")
    yield f"    every: {dataset.every}"
    yield (
        f"    owner: {scalar(plan.owner)}"
        if plan.owner
        else "    # owner: Who answers for this data? crm-team@example.com"
    )
    yield f"    freshness: {{warn: {dataset.warn}, fail: {dataset.fail}}}  # guess: by how often it is read"
    yield "    columns:"
    widest = max(len(column.name) for column in dataset.columns)
    for column in dataset.columns:
        yield from _column(column, widest)
    if dataset.left_out:
        yield from _wrapped("not read: " + ", ".join(dataset.left_out), "      # ")
    yield from _checks(dataset, _parents(plan) if first else ())


def _parents(plan: Plan) -> Iterator[str]:
    """The checks that the first dataset's foreign keys propose: on its parents, where the types are the same."""
    kinds = [{column.name: column.type for column in one.columns} for one in plan.datasets]
    for one, theirs in zip(plan.datasets[1:], kinds[1:], strict=True):
        own, here = (key_names(side) for side in one.join)
        if one.parent and [theirs.get(name) for name in own] == [kinds[0].get(name) for name in here]:
            column = here[0] if len(here) == 1 else list(here)
            asked = scalar({"references": {"column": column, "dataset": one.name}})
            yield f"      - {asked}  # guess: a foreign key; a row waits in quarantine until its parent is there"


def _checks(dataset: DatasetPlan, also: Iterable[str]) -> Iterator[str]:
    least, lines = dataset.rows // 2, list(also)
    if least:
        seen = f"{dataset.rows:,} rows were there" if dataset.complete else f"{dataset.rows:,} rows and more were there"
        lines.append(
            f"      - {{row_count: {{min: {least}}}, on_fail: block}}  # guess: {seen}; half of them gone is a fault"
        )
    if lines:
        yield "    checks:"
        yield from lines


def _column(column: ColumnPlan, widest: int) -> Iterator[str]:
    settings = ", ".join(f"{name}: {scalar(value)}" for name, value in (("type", column.type), *column.settings))
    line = f"      {column.name + ':':<{widest + 1}} {{{settings}}}"
    for doubt in column.doubts:
        yield f"      # look at {column.name}: {doubt}"
    yield from _commented(line, column.evidence, "      ")


def _commented(line: str, comment: str, indent: str) -> Iterator[str]:
    """The line with its comment: behind it where there is room, else above it."""
    comment = " ".join(comment.split())  # a name of the old system may hold a line break
    if not comment:
        yield line
    elif len(line) + len(comment) + 4 <= WIDTH + 20:
        yield f"{line}  # {comment}"
    else:
        yield from _wrapped(comment, f"{indent}# ")
        yield line


def _wrapped(text: str, indent: str) -> Iterator[str]:
    import textwrap

    yield from textwrap.wrap(text, WIDTH, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)


def _guessed(plan: Plan, what: str, line: str) -> Iterator[str]:
    """The line, with the guess that it rests on; a guess that nothing was found is a comment of its own."""
    found = next((guess for guess in plan.guesses if guess.what == what), None)
    indent = "    "
    if found is None:
        if line:
            yield line
    elif line:
        yield from _commented(line, f"guess: {found.evidence}", indent)
    else:
        yield from _wrapped(f"{what.rsplit('.', 1)[-1]}: none. {found.evidence}", f"{indent}# ")


def _model(plan: Plan) -> Iterator[str]:
    yield "model:"
    yield f"  name: {plan.name}"
    yield f"  input: {plan.view}"
    inline = plan.inline
    if inline is None:
        yield f"  # the version that answers is imported: mainstay model add {scalar(plan.model)}"
    else:
        yield "  # A trained model takes this place later: mainstay model add FILE. The workflow can be tried before."
        yield from _inline(inline)
    yield ""
    yield "answer:  # when a row is not as promised: refuse, flag or fallback"
    constant = inline.constant if inline is not None else {}
    falls = "fallback" if constant else "refuse"
    yield (
        "  {on_warn: flag, on_stale: refuse, on_held: refuse, on_missing: refuse, on_deleted: refuse, "
        f"on_error: {falls}}}"
    )
    if falls == "fallback":
        yield f"fallback: {scalar({**constant, 'reason': 'the constant'})}"
    else:
        yield "# fallback: What is answered when the model may not be? {OUTPUT: VALUE, reason: base rate}"
    if plan.port is not None:
        yield ""
        yield f"settings: {{port: {plan.port}}}"


def _inline(inline: Inline) -> Iterator[str]:
    yield f"  rule: {scalar(inline.rule)}" if inline.rule else f"  constant: {scalar(inline.constant)}"
    told: dict[str, object] = {"type": "number"} if inline.rule else {}
    if inline.probability:
        told |= {"unit": "probability", "min": 0, "max": 1}
    if inline.meaning:
        told["meaning"] = inline.meaning
    if told:
        yield f"  outputs: {{{next(iter(inline.rule or inline.constant))}: {scalar(told)}}}"


def joined(plan: DatasetPlan, first: DatasetPlan) -> str:
    """The condition by which a dataset joins the first one."""
    own, other = plan.join
    pairs = zip(key_names(own), key_names(other), strict=True)
    return " AND ".join(
        f"{written(plan.name)}.{written(mine)} = {written(first.name)}.{written(theirs)}" for mine, theirs in pairs
    )


def _listed(key: str) -> str:
    """A key's columns as the file writes them."""
    names = key_names(key)
    return names[0] if len(names) == 1 else f"[{', '.join(names)}]"


def _mapped(mapping: str) -> object:
    """What rows map to, as the file has it."""
    parts = key_names(mapping)
    return parts[0] if len(parts) == 1 else list(parts)


def feature_sql(plan: Plan) -> str:
    """The text of the feature view's SQL."""
    first = plan.datasets[0]
    keys = [f"{first.alias}.{written(name)}" if first.alias else written(name) for name in key_names(first.key)]
    lines = ["-- One row per key: what the model is given, from the columns that there are.", "SELECT"]
    lines += [f"    {key}," for key in keys]
    if plan.matched:
        for one in plan.matched:
            certain = one.evidence == "the same name" or not one.evidence
            note = (
                "" if certain else f"  -- {'look at this guess: ' if one.doubt else ''}{' '.join(one.evidence.split())}"
            )
            lines.append(f"    {one.line},{note}")
    else:
        lines += [f"    {written(name)}," for name in plan.features]
    last = lines[-1]
    head, mark, note = last.partition(",  -- ")
    lines[-1] = head.rstrip(",") + (f"  -- {note}" if mark else "")
    lines.append(f"FROM {written(first.name)}")
    lines += [f"LEFT JOIN {written(one.name)} ON {joined(one, first)}" for one in plan.datasets[1:]]
    return "\n".join(lines) + "\n"


GITIGNORE = """\
# State and secrets stay on this machine.
.mainstay/
secrets/
"""


def files(plan: Plan, secrets: Mapping[str, str]) -> dict[str, str]:
    """Path -> text of everything that is written."""
    return {
        "mainstay.yaml": main_file(plan),
        f"features/{plan.view}.sql": feature_sql(plan),
        ".gitignore": GITIGNORE,
        **secrets,
    }


def doubts(plan: Plan) -> Sequence[Guess]:
    """Every guess of the files, those of single columns and inputs among them."""
    found = list(plan.guesses)
    for dataset in plan.datasets:
        for column in dataset.columns:
            found += [Guess(what=f"{dataset.name}.{column.name}", taken="", evidence=one) for one in column.doubts]
    found += [
        Guess(what=f"input {one.field.name}", taken=one.expression, evidence=one.evidence, flag="--map")
        for one in plan.matched
        if one.doubt
    ]
    return found
