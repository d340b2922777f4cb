"""How values of the user's file become SQL, and the functions that SQL of the user may not call."""

from __future__ import annotations

import math
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from mainstay.core.sql import identifier
from mainstay.core.sql import literal as quoted

UNREPEATABLE: frozenset[str] = frozenset(
    {
        # Random, or counting.
        "random", "rand", "randn", "uuid", "uuidv4", "uuidv7", "gen_random_uuid", "generate_uuid", "newid", "setseed",
        "nextval", "currval", "setval", "reservoir_quantile",
        # The time, or something measured from it.
        "now", "today", "ago", "get_current_time", "get_current_timestamp", "transaction_timestamp",
        "current_date", "current_time", "current_timestamp", "current_localtime", "current_localtimestamp",
        "localtime", "localtimestamp", "current_datetime", "statement_timestamp", "clock_timestamp", "getdate",
        "sysdate",
        # The session, the process or the file system.
        "getvariable", "current_setting", "getenv", "current_database", "current_schema", "current_schemas",
        "current_catalog", "current_user", "session_user", "user", "current_role", "current_query", "current_query_id",
        "current_transaction_id", "current_connection_id", "txid_current", "in_search_path", "pg_backend_pid",
        "pg_conf_load_time", "pg_postmaster_start_time", "inet_client_addr", "inet_client_port", "inet_server_addr",
        "inet_server_port", "version", "stats", "vector_type", "get_block_size",
        # Does something instead of answering.
        "error", "write_log", "sleep_ms", "pg_sleep", "assert_true", "query", "query_table",
    }
)  # fmt: skip
"""Functions whose answer is not decided by their arguments alone. In checks and features they are refused."""

AGGREGATES: frozenset[str] = frozenset(
    {
        "arbitrary", "arg_max_null", "arg_max_nulls_last", "arg_min_null", "arg_min_nulls_last", "bitstring_agg",
        "combine_aggr", "count_star", "decimal_average", "entropy", "favg", "fsum", "geomean", "geometric_mean",
        "histogram", "histogram_exact", "histogram_values", "json_group_array", "json_group_object",
        "json_group_structure", "kahan_sum", "kurtosis_pop", "lttb", "mad", "mean", "product", "reservoir_quantile",
        "sem", "sum_no_overflow", "sumkahan", "variant_group_array", "variant_group_object", "wavg", "weighted_avg",
    }
)  # fmt: skip
"""DuckDB's aggregates that SQLGlot takes for functions it does not know."""

ORDER_DECIDES: frozenset[str] = frozenset(
    {"first", "last", "any_value", "arbitrary", "list", "array_agg", "string_agg", "group_concat", "listagg"}
)
"""Aggregates whose answer is decided by the order of rows, which a table does not have."""


name = identifier
"""The name, quoted. Also valid in PostgreSQL and SQLite."""

text = quoted
"""The text as a literal: nothing in it has a meaning but the quote, which is doubled."""


def literal(value: Any) -> str:
    """A value from the user's file as a literal.

    None is NULL, numbers are written so that they read back exactly, dates and times become their ISO text (engines
    compare a date column with a text literal by parsing it).

    Raises TypeError for anything else: a list has no place where a value is wanted.
    """
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, Decimal):
        return format(value, "f") if value.is_finite() else f"CAST({text(str(value))} AS DOUBLE)"
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else f"CAST({text(str(value))} AS DOUBLE)"
    if isinstance(value, datetime):
        return text(value.isoformat(sep=" "))
    if isinstance(value, date):
        return text(value.isoformat())
    if isinstance(value, str):
        return text(value)
    raise TypeError(f"a {type(value).__name__} cannot be written as one SQL value")


def is_number(value: Any) -> bool:
    """Whether the value is a number in the user's file; true and false are not."""
    return isinstance(value, int | float | Decimal) and not isinstance(value, bool)


def any_of(conditions: list[str]) -> str:
    """The conditions joined by OR; FALSE when there are none."""
    if not conditions:
        return "FALSE"
    return conditions[0] if len(conditions) == 1 else "(" + " OR ".join(conditions) + ")"
