"""Versions of dataset contracts: planned and recorded by `apply`, shown by `mainstay contract`."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import msgspec

from mainstay.app.place import Place, opened, read_applied, record_of
from mainstay.catalog.contracts import compare, digest_of, promise_of, said
from mainstay.catalog.odcs import odcs
from mainstay.catalog.odcs_in import Proposal, propose
from mainstay.core.errors import FileError, NotFound, Refused
from mainstay.core.nouns import Dataset, Integration
from mainstay.core.ports import State, StateReader
from mainstay.core.promises import Change, DatasetContract
from mainstay.core.records import Applied
from mainstay.core.verdicts import Finding, Verdict
from mainstay.store.shelf import Shelf, ShelfReader


def versions(state: StateReader, dataset: str) -> tuple[DatasetContract, ...]:
    """Every version of a dataset's contract, from the first on."""
    return tuple(ShelfReader(state, "contract", DatasetContract).all(f"{dataset}/").values())


def planned(state: StateReader, before: Integration | None, new: Dataset) -> tuple[int, tuple[Change, ...]]:
    """(the next version's number, what it changes): no changes where there will be none, or where it is the first."""
    there = versions(state, new.name)
    old = None if before is None else before.datasets.get(new.name)
    if there:
        return there[-1].number + 1, compare(there[-1].promise, promise_of(new))
    return 2, () if old is None else compare(promise_of(old), promise_of(new))


def number_in(state: StateReader, before: Integration | None, new: Dataset) -> int:
    """The number of the version that `new` is, recorded or about to be."""
    number, changes = planned(state, before, new)
    return number if changes else number - 1


def sentence(dataset: str, number: int, changes: tuple[Change, ...]) -> str:
    """What the plan of `apply` says."""
    return f"dataset contract {dataset}: {number - 1} -> {number} ({said(changes)})"


def warning(dataset: str, number: int, changes: tuple[Change, ...]) -> Finding | None:
    """A break is said before the plan: readers want to be told first. It stops nothing: the promise is its owner's."""
    breaks = [one.sentence for one in changes if one.breaking]
    if not breaks:
        return None
    return Finding(
        check=f"{dataset}.contract",
        verdict=Verdict.WARN,
        sentence=f"dataset contract {dataset} {number - 1} -> {number} breaks for its readers: {'; '.join(breaks)}",
        mend=f"tell them first; afterwards `mainstay contract {dataset} --diff {number - 1} {number}` says it again",
    )


def record(state: State, before: Applied | None, new: Dataset, *, file: str, at_us: int, by: str, token: int) -> None:
    """Records what the dataset promises, where it differs from the last version, or where there is none.

    An integration that was applied before contracts had versions begins with the one that it was applied with.
    """
    there = versions(state, new.name)
    last = there[-1] if there else _first(before, new.name)
    if last is not None and not there:
        _put(state, last, token)
    promise = promise_of(new)
    changes = () if last is None else compare(last.promise, promise)
    if last is not None and not changes:
        return
    number = 1 if last is None else last.number + 1
    contract = DatasetContract(
        dataset=new.name,
        number=number,
        digest=digest_of(promise),
        at_us=at_us,
        by=by,
        file=file,
        breaking=any(one.breaking for one in changes),
        changes=changes,
        promise=promise,
    )
    _put(state, contract, token)


def _first(before: Applied | None, dataset: str) -> DatasetContract | None:
    if before is None:
        return None
    try:
        old = read_applied(before).datasets.get(dataset)
    except FileError:
        return None
    if old is None:
        return None
    promise = promise_of(old)
    return DatasetContract(
        dataset=dataset, number=1, digest=digest_of(promise), at_us=before.at_us, by=before.by, file=before.digest,
        promise=promise,
    )  # fmt: skip


def _put(state: State, contract: DatasetContract, token: int) -> None:
    Shelf(state, "contract", DatasetContract).put(f"{contract.dataset}/{contract.number:06d}", contract, token=token)


# --- shown ---------------------------------------------------------------------------------------------------------


class Contracts(msgspec.Struct, frozen=True, kw_only=True):
    """What `mainstay contract` shows."""

    integration: str
    datasets: dict[str, tuple[DatasetContract, ...]]
    """Dataset of the applied file -> every version of its contract."""


def read_contracts(place: Place) -> Contracts:
    """The contracts of the applied file's datasets. Needs neither the lease nor the source."""
    with opened(place) as state:
        applied = record_of(state)
        integration = read_applied(applied)
        found = {}
        for name in integration.datasets:
            first = _first(applied, name)
            found[name] = versions(state, name) or (() if first is None else (first,))
        return Contracts(integration=integration.name, datasets=found)


def of_dataset(found: Contracts, dataset: str, number: int | None = None) -> DatasetContract:
    """A version of a dataset's contract, the newest by default. Raises NotFound."""
    if dataset not in found.datasets:
        raise NotFound(f"there is no dataset {dataset}", mend=f"there are {', '.join(found.datasets)}")
    there = found.datasets[dataset]
    if number is None and there:
        return there[-1]
    for one in there:
        if one.number == number:
            return one
    raise NotFound(
        f"the contract of {dataset} has no version {number}", mend=f"it has 1 to {there[-1].number}" if there else ""
    )


def difference(before: DatasetContract, after: DatasetContract) -> tuple[Change, ...]:
    """What changed between any two versions."""
    return compare(before.promise, after.promise)


def as_odcs(found: Contracts, contract: DatasetContract) -> dict[str, Any]:
    """The version as a document of the Open Data Contract Standard."""
    now = found.datasets[contract.dataset][-1].number == contract.number
    return odcs(contract, integration=found.integration, now=now)


def yaml_of(document: dict[str, Any]) -> str:
    """The document as YAML, keys in its own order."""
    from ruamel.yaml import YAML

    writer = YAML(typ="safe", pure=True)
    writer.default_flow_style = False
    writer.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    writer.width = 4096
    text = io.StringIO()
    writer.dump(document, text)
    return text.getvalue()


def proposed(path: Path, dataset: str | None) -> Proposal:
    """The dataset that an ODCS document describes, as an entry of mainstay.yaml."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        document = YAML(typ="safe", pure=True).load(path.read_text("utf-8"))
    except FileNotFoundError:
        raise NotFound(f"there is no file {path}", mend="check the path") from None
    except (YAMLError, UnicodeDecodeError):
        raise Refused("it cannot be read as YAML", where=str(path), mend="give a document of ODCS") from None
    return propose(document, dataset or "")
