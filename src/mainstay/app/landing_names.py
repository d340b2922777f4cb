"""The name that a column's raw values land under stays, whatever the file calls the column's source later.

Landing and history know raw values by name, and digests by their order. So a column that the file reads from another
name keeps the first one inside: nothing that was landed is read otherwise, and no row is new for the name alone. The
applied file's record remembers the names that differ.
"""

from __future__ import annotations

import msgspec

from mainstay.core.errors import Refused
from mainstay.core.nouns import Column, Dataset, Integration
from mainstay.core.records import Applied
from mainstay.pipelines.stage import raw_columns

Names = dict[str, dict[str, str]]


def with_landing_names(integration: Integration, names: Names) -> Integration:
    """The integration whose columns land under these names (dataset -> column -> name), read as the file says."""
    if not any(names.values()):
        return integration
    datasets = {
        name: msgspec.structs.replace(
            dataset, columns=tuple(_landing(column, names.get(name, {})) for column in dataset.columns)
        )
        for name, dataset in integration.datasets.items()
    }
    return msgspec.structs.replace(integration, datasets=datasets)


def _landing(column: Column, names: dict[str, str]) -> Column:
    name = names.get(column.name, column.source_name)
    if name == column.source_name:
        return column
    return msgspec.structs.replace(column, source_name=name, source_names=column.names)


def landing_names(applied: Applied | None, old: Integration | None, file: Integration) -> Names:
    """What `with_landing_names` needs for a file that is to be applied.

    Args:
        applied: What is applied now; None before the first file.
        old: The same as an integration; None where it can no longer be read.
        file: The new file as it reads.

    Raises:
        Refused: a name beside the contract (a cursor, say) is one that another column has landed under.
    """
    before = {} if old is None else {
        name: {column.name: column.source_name for column in one.columns} for name, one in old.datasets.items()
    }  # fmt: skip
    kept = {} if applied is None else applied.landed_as
    found: Names = {name: dict(columns) for name, columns in kept.items() if columns}
    for name, dataset in file.datasets.items():
        mine = _names(dataset, before.get(name, {}), found.get(name, {}))
        if mine:
            found[name] = mine
            _refuse_collisions(dataset, mine)
    return found


def _names(dataset: Dataset, before: dict[str, str], kept: dict[str, str]) -> dict[str, str]:
    """Column -> landing name, of the columns whose landing name is not the file's."""
    landed = {**before, **kept}
    names = {name: raw for name, raw in kept.items() if name not in {column.name for column in dataset.columns}}
    taken = {landed[column.name] for column in dataset.columns if column.name in landed}
    for column in dataset.columns:
        raw = landed.get(column.name)
        if raw is None:  # new: a name that an older column has landed under is not free
            raw = next(one for one in _free(column) if one not in taken)
            taken.add(raw)
        if raw != column.source_name:
            names[column.name] = raw
    return names


def _free(column: Column) -> list[str]:
    return [column.source_name, column.name, *(f"{column.name}_{number}" for number in range(2, 1000))]


def _refuse_collisions(dataset: Dataset, names: dict[str, str]) -> None:
    declared = {name for column in dataset.columns for name in column.names}
    for name in raw_columns(dataset):
        column = next((one for one, raw in names.items() if raw == name and name not in declared), None)
        if column is not None:
            raise Refused(
                f"{name} is what column {column} has landed under, and is read beside the contract now",
                where=f"datasets.{dataset.name}",
                mend=f"declare {name} under `columns:`, with a type",
            )


def read_otherwise(old: Dataset, new: Dataset) -> str:
    """Why the source's rows may read otherwise now: a column has another name there. Empty: names were only added."""
    before = {column.name: column.names for column in old.columns}
    changed = [
        f"{column.name} is read from {' or '.join(column.names)}"
        for column in new.columns
        if (names := before.get(column.name)) is not None and column.names[: len(names)] != names
    ]
    return "; ".join(changed)


def unnamed(dataset: Dataset) -> tuple[Column, ...]:
    """The columns without their names in the source: what cleaning makes of raw values does not ask for those."""
    return tuple(msgspec.structs.replace(column, source_names=()) for column in dataset.columns)
