"""Which row a feature view's SQL cannot be evaluated on, found by halves.

The row is named by its position and the feature by its column: DuckDB's own text quotes the value, the key may name a
person, and a sentence that is kept and logged is beyond erasure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from mainstay.core.nouns import Dataset
from mainstay.pipelines.feature_keys import ALL
from mainstay.store.current import Current, schema_of

Fails = Callable[[], bool]

MOST_KEYS = 1_000_000
"""Looking costs as much as evaluating them all twice, at every retry."""


def failing_key(current: Current, fails: Fails) -> str | None:
    """The first key of the temporary table `suspects` (`k`) whose rows alone make it fail; it is left in `affected`.

    Args:
        current: Where both tables are.
        fails: Whether the SQL fails on what the keys in `affected` show it.

    Returns:
        None where no single key does: it fails without any rows, or on rows that are shown for all keys. And where
        there are too many keys to try.
    """
    current.sql(
        "CREATE OR REPLACE TEMP TABLE numbered AS SELECT k, row_number() OVER (ORDER BY k) - 1 AS n FROM suspects"
    )
    low, high = 0, int(current.one("SELECT count(*) FROM numbered")[0])
    if not 0 < high <= MOST_KEYS or _fails_on(current, 0, 0, fails):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        if _fails_on(current, low, middle, fails):
            high = middle
        else:
            low = middle
    return str(current.one("SELECT k FROM affected")[0]) if _fails_on(current, low, high, fails) else None


def _fails_on(current: Current, low: int, high: int, fails: Fails) -> bool:
    current.sql(f"CREATE OR REPLACE TEMP TABLE affected AS SELECT k FROM numbered WHERE n >= {low} AND n < {high}")
    return fails()


def suspects_sql(datasets: Mapping[str, Dataset], keys: Mapping[str, str]) -> str:
    """The keys of all rows. `keys`: dataset -> the SQL of its mapping, or `all`."""
    parts = [
        f"SELECT {keys[name]} AS k FROM {schema_of(name)}.rows WHERE NOT _deleted"
        for name in datasets
        if keys[name] != ALL
    ]
    return (
        f"SELECT DISTINCT k FROM ({' UNION ALL '.join(parts)}) WHERE k IS NOT NULL"
        if parts
        else "SELECT NULL AS k LIMIT 0"
    )


def rows_of_key(current: Current, datasets: Sequence[str], keys: Mapping[str, str]) -> str:
    """The rows behind the key in `affected`, for people: `customers batch 12, ordinal 5`."""
    found = []
    for name in datasets:
        if keys[name] == ALL:
            continue
        rows = current.sql(
            f"SELECT _batch, _ord FROM {schema_of(name)}.rows WHERE NOT _deleted "
            f"AND {keys[name]} IN (SELECT k FROM affected) ORDER BY _batch DESC, _ord DESC LIMIT 3"
        )
        found += [f"{name} batch {batch}, ordinal {ordinal}" for batch, ordinal in rows]
    return "; ".join(found)
