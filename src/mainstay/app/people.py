"""Whom a text names: the people of an erasure, in receipts and in commands.

Where a model answers on several views, 7 may be a customer's key or a product's. So an erasure names its key with its
column: `customer_id=7`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from mainstay.core.errors import Refused
from mainstay.core.inputs import person_texts
from mainstay.core.keys import joined_key, shown_key, typed_columns
from mainstay.core.records import Receipt
from mainstay.pipelines.desk import Desk
from mainstay.pipelines.suppression import key_columns, person_of


class People:
    """Tells whom receipts are about; made once for many of them.

    Args:
        desk: Whose feature sets say what a key's columns are.
    """

    def __init__(self, desk: Desk) -> None:
        self._columns = {digest: one.key_names for digest, one in desk.feature_sets.all().items()}
        self._asked = key_columns(desk)

    def names(self, receipt: Receipt, person: str) -> bool:
        """Whether a receipt is about the person: by a key, or by one among inputs that came with the request."""
        return person in self.texts_of(receipt)

    def texts_of(self, receipt: Receipt) -> Iterator[str]:
        """Every text that names somebody whom the receipt is about."""
        if receipt.key is not None:
            yield from person_texts(receipt.key, () if receipt.views else self._columns.get(receipt.feature_set, ()))
        for one in receipt.views:
            yield from () if one.key is None else person_texts(one.key, one.columns)
        given = receipt.inputs or {}
        for columns in self._asked:
            if all(given.get(name) is not None for name in columns):
                yield from person_texts(joined_key([str(given[name]) for name in columns]), columns)


def must_be_clear(desk: Desk, key: str) -> None:
    """Raises Refused where a key may be that of several views, or is a part of one."""
    _must_be_whole(desk, key)
    views = desk.integration.model.views
    live = [one.key_names for one in desk.live_feature_sets() if one.view in views]
    columns = [",".join(names) for names in dict.fromkeys(live)]
    if len(columns) > 1 and not person_of(desk, key).columns:
        raise Refused(
            f"this key may be one of {' or '.join(columns)}",
            mend=f"name its column: --key {columns[0]}=...",
        )


def _must_be_whole(desk: Desk, key: str) -> None:
    if person_of(desk, key).columns:
        return
    try:
        given = dict(typed_columns(key))
    except ValueError:
        return
    for names in (*key_columns(desk), *(one.key_names for one in desk.integration.datasets.values())):
        if given.keys() < set(names):
            raise Refused(
                f"the key is {' and '.join(names)}, and only {' and '.join(given)} is named: that is no row",
                mend=f"name all of it, once for each row: --key {','.join(f'{name}=...' for name in names)}",
            )


def named_in(desk: Desk, text: str, person: str) -> bool:
    """Whether a text has the person's key in it; a number as a word of its own, for each date has a 7 somewhere."""
    columns, key = person_of(desk, person)
    if key.isdigit():
        return bool(re.search(rf"(?<!\d){re.escape(key)}(?!\d)", text))
    forms = {key, shown_key(columns or ("",), key)}
    # Within JSON, as responses are, a key of several columns stands with its quotes escaped.
    return any(form in text or json.dumps(form, ensure_ascii=False)[1:-1] in text for form in forms)
