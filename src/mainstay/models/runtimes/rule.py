"""SQL expressions over the feature row's columns, evaluated by DuckDB: the model before the model.

One statement, parsed once, answers any number of rows: it is handed one list per column that the rules read. The
connection is in memory, cannot reach files or the network, and its settings are locked.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from contextlib import closing
from functools import cache
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mainstay.core.clock import Clock, SystemClock
from mainstay.core.errors import ModelRefused, ModelTimeout
from mainstay.core.nouns import Field, Signature
from mainstay.core.ports import LoadedModel, Row, RuntimeCapabilities
from mainstay.core.sql import identifier
from mainstay.models.inputs import check_rows, required_of

if TYPE_CHECKING:
    import duckdb

_PARAMETER = {
    "string": "CAST({} AS VARCHAR)",
    "json": "CAST({} AS VARCHAR)",
    "bytes": "CAST({} AS VARCHAR)",
    "integer": "CAST({} AS BIGINT)",
    "number": "CAST({} AS DOUBLE)",
    "boolean": "CAST({} AS BOOLEAN)",
    "date": "CAST({} AS DATE)",
    "timestamp": "make_timestamp(CAST({} AS BIGINT))",
}
_RAW = {"timestamp": "BIGINT", "integer": "BIGINT", "number": "DOUBLE", "boolean": "BOOLEAN"}
_RESULT = _PARAMETER | {
    "date": "CAST(CAST({} AS DATE) AS VARCHAR)",
    "timestamp": "epoch_us(CAST({} AS TIMESTAMP))",
}
# Words that read the clock or chance without brackets, and words that would look beyond the row.
_CLOCK = {"current_date", "current_time", "current_timestamp", "localtime", "localtimestamp", "today", "now"}
# Called with one argument, both measure from today, though DuckDB lists `age` as consistent.
_FROM_TODAY = {"age", "ago"}
_BEYOND = {
    "__row",
    "select",
    "from",
    "over",
    "unnest",
    "generate_series",
    "pragma",
    "copy",
    "attach",
    "install",
    "load",
}


class RuleRuntime:
    """Options: `rules`, output -> SQL expression, one for each output of the signature."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()

    def load(self, artifact: Path | None, signature: Signature, options: Mapping[str, Any]) -> LoadedModel:  # noqa: ARG002
        """Raises ModelRefused for a rule that does not parse, reads an unknown column or does not repeat itself."""
        import duckdb

        rules = options.get("rules", {})
        wanted = [field.name for field in signature.outputs]
        if not isinstance(rules, Mapping) or sorted(rules) != sorted(wanted):
            raise ModelRefused(
                f"a rule needs an expression for each of its outputs: {', '.join(wanted)}",
                mend="write one under `rules:` for each",
            )
        connection = duckdb.connect(":memory:", config={"threads": 1, "enable_external_access": "false"})
        try:
            return _Rule(connection, signature, {name: str(rules[name]) for name in wanted}, self._clock)
        except duckdb.Error as error:
            connection.close()
            raise ModelRefused(
                f"the rule cannot be evaluated: {_first_line(error)}",
                mend=f"it may read: {', '.join(field.name for field in signature.inputs) or 'no columns'}",
            ) from error
        except ModelRefused:
            connection.close()
            raise


class _Rule:
    capabilities = RuntimeCapabilities(blocking=False)

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, signature: Signature, rules: Mapping[str, str], clock: Clock
    ) -> None:
        import duckdb

        self.build = f"duckdb {duckdb.__version__}"
        self._clock = clock
        self._lock = threading.Lock()
        self._connection: duckdb.DuckDBPyConnection | None = connection
        self._width = len(signature.inputs)
        self._required = required_of(signature)
        words: set[str] = set()
        volatile = _volatile()
        for name, rule in rules.items():
            words |= _words(name, rule, volatile, {field.name.lower() for field in signature.inputs})
        # A column that no rule reads costs time at every prediction, so it is not handed over.
        self._read = tuple(
            (index, field) for index, field in enumerate(signature.inputs) if field.name.lower() in words
        )
        connection.execute("SET lock_configuration = true")
        sql = _statement([field for _, field in self._read], signature.outputs, rules)
        self._statement = connection.extract_statements(sql)[0]
        self._prove()

    def _prove(self) -> None:
        """Three rows of nothing: every expression binds, and none sees more than its own row."""
        nothing = tuple([None] * self._width)
        if len(self._run([nothing] * 3)) != 3:
            raise ModelRefused(
                "a rule must give one value for each row, and this one looks across rows",
                mend="take aggregates out of it, or compute them in the feature SQL",
            )

    def _run(self, rows: Sequence[Row]) -> list[tuple[Any, ...]]:
        connection = self._connection
        if connection is None:
            raise ModelRefused("the model was closed")
        given = [list(range(len(rows))), *([row[index] for row in rows] for index, _ in self._read)]
        result: list[tuple[Any, ...]] = connection.execute(self._statement, given).fetchall()
        return result

    def predict(self, rows: Sequence[Row], *, deadline_us: int | None = None) -> list[tuple[Any, ...]]:
        import duckdb

        check_rows(rows, self._width, self._required)
        if not rows:
            return []
        if deadline_us is not None and self._clock.monotonic_us() > deadline_us:
            raise ModelTimeout("the deadline had passed before the rule was evaluated")
        with self._lock:
            try:
                return self._run(rows)
            except duckdb.Error as error:
                # DuckDB's sentence quotes the value that did not fit, which may be personal.
                raise ModelRefused(f"the rule cannot take this row ({type(error).__name__})") from None

    def present(self) -> bool:
        return True

    def close(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None


def _statement(inputs: Sequence[Field], outputs: Sequence[Field], rules: Mapping[str, str]) -> str:
    raw = ["unnest(CAST($1 AS BIGINT[])) AS __row"]
    for number, field in enumerate(inputs, start=2):
        raw.append(f"unnest(CAST(${number} AS {_RAW.get(field.type, 'VARCHAR')}[])) AS {identifier(field.name)}")
    typed = [
        "__row",
        *(f"{_PARAMETER[field.type].format(identifier(field.name))} AS {identifier(field.name)}" for field in inputs),
    ]
    answers = ", ".join(_RESULT[field.type].format(f"({rules[field.name]}\n)") for field in outputs)
    return f"SELECT {answers} FROM (SELECT {', '.join(typed)} FROM (SELECT {', '.join(raw)})) ORDER BY __row"


@cache
def _volatile() -> frozenset[str]:
    """Functions whose answer is not a matter of their arguments alone, by DuckDB's own word: the same all day."""
    import duckdb

    with closing(duckdb.connect(":memory:", config={"threads": 1, "enable_external_access": "false"})) as connection:
        found = connection.execute(
            "SELECT DISTINCT lower(function_name) FROM duckdb_functions() WHERE stability <> 'CONSISTENT'"
        ).fetchall()
    return frozenset(name for (name,) in found)


def _words(output: str, rule: str, volatile: frozenset[str], columns: set[str]) -> set[str]:
    """The words of a rule in lower case. Raises ModelRefused for one that may not stand in it."""
    import sqlglot
    from sqlglot import TokenType
    from sqlglot.errors import SqlglotError

    try:
        tokens = sqlglot.tokenize(rule, read="duckdb")
    except SqlglotError as error:
        raise ModelRefused(f"the rule for {output} is not SQL: {_first_line(error)}") from error
    words: set[str] = set()
    depth = 0
    for token, following in zip_longest(tokens, tokens[1:]):
        depth += {TokenType.L_PAREN: 1, TokenType.R_PAREN: -1}.get(token.token_type, 0)
        if depth < 0 or token.token_type in {TokenType.SEMICOLON, TokenType.PARAMETER}:
            raise ModelRefused(
                f"the rule for {output} must be one expression", mend="a rule is what stands in a SELECT"
            )
        if token.token_type == TokenType.STRING:
            continue
        word = token.text.lower()
        called = following is not None and following.token_type == TokenType.L_PAREN
        moving = word in volatile or word in _FROM_TODAY or word.startswith(("current_", "pg_"))
        if (called and moving) or (word in _CLOCK and (called or word not in columns)):
            raise ModelRefused(
                f"the rule for {output} reads {word}, so the same row would not give the same answer",
                mend="let the feature SQL give what it needs ($as_of is the time there)",
            )
        if word in _BEYOND and word not in columns:
            raise ModelRefused(f"the rule for {output} may look at its own row only, and says {word}")
        words.add(word)
    if depth or not tokens:
        raise ModelRefused(f"the rule for {output} must be one expression", mend="a rule is what stands in a SELECT")
    return words


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
