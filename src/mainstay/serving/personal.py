"""What a receipt shows to those who may not see who somebody is: everything but the values of personal columns.

Personal is what is marked `pii` in a dataset, and what feature SQL makes of it. The stored receipt keeps its values:
what is verified is the record, what is masked is its picture.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from mainstay.core.nouns import Integration
from mainstay.core.records import FeatureSetState, Receipt

MASK = "masked"
"""What stands in the place of a value as text; in JSON the value is null and `masked` names it."""


class Personal:
    """Which names are personal.

    Args:
        integration: Whose columns are marked; None: nothing is known, so everything may be personal.
        sets: Feature sets, with what their SQL makes of marked columns.
        whole: Whoever looks may see everything.
    """

    def __init__(
        self, integration: Integration | None, sets: Iterable[FeatureSetState] = (), *, whole: bool = False
    ) -> None:
        self.whole = whole
        self._known = integration is not None
        datasets = integration.datasets if integration is not None else {}
        self._plain = {
            name: frozenset(one.source_name for one in dataset.columns if not one.pii)
            for name, dataset in datasets.items()
        }
        self._sets = {one.digest: one for one in sets}
        self._names = frozenset(one.name.lower() for each in datasets.values() for one in each.columns if one.pii)
        self._names |= frozenset(name for one in self._sets.values() for name in one.personal)

    def shown(self, name: str) -> bool:
        """Whether the value of a column, feature or input of this name is shown."""
        return self.whole or (self._known and name.lower() not in self._names)

    def raw_shown(self, dataset: str, name: str) -> bool:
        """The same for a raw column of a source: what the contract does not name may be anything."""
        return self.whole or name in self._plain.get(dataset, frozenset())

    def key_shown(self, columns: Sequence[str]) -> bool:
        """Whether a key of these columns is shown."""
        return all(self.shown(name) for name in columns)

    def receipt(self, one: Receipt) -> dict[str, Any]:
        """The receipt as plain values; what is not shown is null, and named under `masked`."""
        told: dict[str, Any] = msgspec.to_builtins(one)
        masked: set[str] = set()
        for field in ("inputs", "fed", "imputed"):
            told[field] = self._values(told[field], masked)
        of = self._sets.get(one.feature_set)
        columns = of.key_names if of is not None else ("key",)
        unsure = not self.whole and (not self._known or bool(self._names))
        hidden = not self.key_shown(columns) if of is not None or one.views else unsure
        hidden = hidden or any(not self.key_shown(view.columns) for view in one.views)
        if one.key is not None and hidden:
            told["key"] = None
            masked.add("key")
        for view, its in zip(told["views"], one.views, strict=True):
            if its.key is not None and not self.key_shown(its.columns):
                view["key"] = None
        return told if not masked else told | {MASK: sorted(masked)}

    def _values(self, values: Mapping[str, Any] | None, masked: set[str]) -> dict[str, Any] | None:
        if values is None:
            return None
        hidden = {name for name in values if not self.shown(name)}
        masked |= hidden
        return {name: None if name in hidden else value for name, value in values.items()}
