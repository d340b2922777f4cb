"""Whom a text names: the people of an erasure, in receipts and in commands.

Where a model answers on several views, 7 may be a customer's key or a product's. So an erasure names its key with its
column: `customer_id=7`.
"""

from __future__ import annotations

from collections.abc import Iterator

from mainstay.core.errors import Refused
from mainstay.core.inputs import person_texts
from mainstay.core.keys import joined_key
from mainstay.core.records import Receipt
from mainstay.pipelines.desk import Desk
from mainstay.pipelines.suppression import key_columns, person_of


def names(desk: Desk, receipt: Receipt, key: str) -> bool:
    """Whether a receipt is about the person: by a key, or by one among inputs that came with the request."""
    return key in texts_of(desk, receipt)


def texts_of(desk: Desk, receipt: Receipt) -> Iterator[str]:
    """Every text that names somebody whom the receipt is about."""
    if receipt.key is not None:
        of = None if receipt.views else desk.feature_sets.get(receipt.feature_set)
        yield from person_texts(receipt.key, of.key_names if of else ())
    for one in receipt.views:
        yield from () if one.key is None else person_texts(one.key, one.columns)
    given = receipt.inputs or {}
    for columns in key_columns(desk):
        if all(given.get(name) is not None for name in columns):
            yield from person_texts(joined_key([str(given[name]) for name in columns]), columns)


def must_be_clear(desk: Desk, key: str) -> None:
    """Raises Refused where a key stands without its column and may be that of several views."""
    views = desk.integration.model.views
    live = [one.key_names for one in desk.live_feature_sets() if one.view in views]
    columns = [",".join(names) for names in dict.fromkeys(live)]
    if len(columns) > 1 and not person_of(desk, key).columns:
        raise Refused(
            f"this key may be one of {' or '.join(columns)}",
            mend=f"name its column: --key {columns[0]}=...",
        )
