"""Whether the runtimes of trees give what the library itself gives: to the last bit, but for a sum's order (DART).

The file is loaded a second time by the library's own Python package and asked as its documentation shows: a table with
named columns, the categories as texts. Compared are the rows and points of `parity`, the band around each split too,
and rows that come alone, which take another way through the library than many at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import msgspec
import numpy as np

from mainstay.core.clock import Clock
from mainstay.core.counts import counted
from mainstay.core.errors import ModelRefused
from mainstay.core.nouns import Signature
from mainstay.core.ports import LoadedModel, Row, RuntimeCapabilities
from mainstay.models.importing import Examined
from mainstay.models.importing_trees import splits_of
from mainstay.models.inputs import columns_of, null
from mainstay.models.parity import TOLERANCE, Splits, answers, around, compare, difference, failing, oddities
from mainstay.models.runtimes import runtime_of

MOST_SPLITS = 10_000
ALONE = 500


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    parity: dict[str, Any]
    """For ModelVersion.parity, JSON."""
    told: str
    """One sentence for people."""


def prove(file: Path, examined: Examined, rows: Sequence[Row], clock: Clock) -> Proof:
    """Raises ModelRefused, with the numbers, where the two differ."""
    if not rows:
        reason = "there are no current rows to compare it on with its library"
        return Proof(parity={"proved": False, "reason": reason}, told=reason)
    splits, whole = _splits(file, examined)
    own, named = _library(file, examined)
    # Without names a strange category cannot be told to the library at all.
    closed = () if named else tuple(examined.options["codes"])
    model = runtime_of(examined.runtime).load(file, examined.signature, examined.options)
    try:
        parity = compare(own, model, examined.signature, rows, splits, clock=clock, closed=closed)
        sample = [*_spread(rows, ALONE), *oddities(examined.signature, rows, closed)]
        sample += islice(around(examined.signature, rows, splits), ALONE)
        alone = difference(answers(own, sample, clock), [_one(model, row) for row in sample], TOLERANCE)
    finally:
        model.close()
    if not (parity.equal and parity.band.equal and alone.equal):
        why = failing(parity) or "differs on single rows or within one step of a split"
        raise ModelRefused(
            f"{examined.runtime} itself answers differently: {why}",
            mend="hand the model over as a pickle with --python, and report this",
        )
    largest = max(parity.current.largest, parity.around.largest, parity.band.largest, alone.largest)
    told = (
        f"equal to {examined.runtime} itself to {f'{largest:.1e}' if largest else 'the last bit'} on "
        f"{counted(parity.current.rows, 'row')}, on {parity.around.rows + parity.band.rows:,} points around "
        f"{counted(parity.splits, 'split')}, and on {counted(len(sample), 'row')} alone"
    )
    if whole > parity.splits:
        told += f" (an even choice of its {whole:,} splits)"
    if not named:
        told += "; pandas is not installed here, so the codes of its categories were not compared"
    stored = {"proved": True, **msgspec.to_builtins(parity), "alone": msgspec.to_builtins(alone), "categories": named}
    return Proof(parity=stored, told=told)


def _one(model: LoadedModel, row: Row) -> tuple[Any, ...] | None:
    try:
        return model.predict([row])[0]
    except ModelRefused:
        return None


def _splits(file: Path, examined: Examined) -> tuple[Splits, int]:
    """Thresholds with the step of the library's arithmetic, at most MOST_SPLITS of them; and how many there are."""
    found = splits_of(file, examined.runtime, examined.signature)
    # Of categories every one is compared; a threshold there is one between codes.
    known = {name: thresholds for name, thresholds in found.items() if name not in examined.options["codes"]}
    whole = sum(map(len, known.values()))
    every = max(1, -(-whole // MOST_SPLITS))
    kind = np.float32 if examined.runtime == "xgboost" else np.float64
    return {
        name: [(one, float(abs(np.spacing(kind(one))))) for one in thresholds[::every]]
        for name, thresholds in known.items()
    }, whole


def _spread(rows: Sequence[Row], most: int) -> Sequence[Row]:
    return rows[:: max(1, -(-len(rows) // most))]


class _Table(Protocol):
    """What the library's package makes of a table: a row of scores for each row."""

    def __call__(self, table: Any, *, margin: bool) -> np.ndarray[Any, Any]: ...


def _library(file: Path, examined: Examined) -> tuple[LoadedModel, bool]:
    """The library's own prediction as a model, and whether it is given categories by name."""
    made = _xgboost(file, examined.options) if examined.runtime == "xgboost" else _lightgbm(file)
    try:
        import pandas  # noqa: F401, ICN001
    except ImportError:
        return _Own(examined, made, named=False), not examined.options["codes"]
    return _Own(examined, made, named=True), True


def _xgboost(file: Path, options: Mapping[str, Any]) -> _Table:
    import xgboost

    booster = xgboost.Booster()
    booster.load_model(bytearray(file.read_bytes()))
    if options["objective"]:
        booster.set_param({"objective": options["objective"]})

    def predict(table: Any, *, margin: bool) -> np.ndarray[Any, Any]:
        try:
            matrix = xgboost.DMatrix(table, enable_categorical=True, nthread=1)
            found: np.ndarray[Any, Any] = booster.predict(
                matrix,
                output_margin=margin,
                iteration_range=tuple(options["rounds"]),
                strict_shape=True,
                validate_features=False,
            )
        except xgboost.core.XGBoostError as error:
            raise ModelRefused("the library refuses this") from error
        return found

    return predict


def _lightgbm(file: Path) -> _Table:
    import lightgbm

    booster = lightgbm.Booster(model_str=file.read_text("utf-8"))

    def predict(table: Any, *, margin: bool) -> np.ndarray[Any, Any]:
        found: np.ndarray[Any, Any] = np.asarray(booster.predict(table, raw_score=margin, num_threads=1))
        return found.reshape(len(table), -1)

    return predict


class _Own:
    """The library's own prediction behind the seam. Slow, and independent of the runtime's feeding and picking."""

    capabilities = RuntimeCapabilities(blocking=False)
    build = "the library's own package"

    def __init__(self, examined: Examined, predict: _Table, *, named: bool) -> None:
        self._signature: Signature = examined.signature
        self._options = examined.options
        self._predict = predict
        self._named = named

    def predict(self, rows: Sequence[Row], *, deadline_us: int | None = None) -> list[tuple[Any, ...]]:  # noqa: ARG002
        table = self._table(rows)
        columns = []
        for entry in self._options["outputs"]:
            scores = self._predict(table, margin=entry["margin"])
            if entry["how"] == "class":
                columns.append(scores.argmax(axis=1).tolist())
            elif entry["how"] == "complement":
                columns.append((1 - scores[:, entry["column"]]).tolist())
            else:
                columns.append(scores[:, entry["column"]].tolist())
        return list(zip(*columns, strict=True))

    def _table(self, rows: Sequence[Row]) -> Any:
        """A DataFrame whose categories stand in another order than the model's; a matrix of codes without pandas."""
        found = {}
        for field, values in zip(self._signature.inputs, columns_of(rows, len(self._signature.inputs)), strict=True):
            known = self._options["codes"].get(field.name)
            if known is None:
                found[field.name] = np.array([np.nan if null(one) else float(one) for one in values])
            else:
                found[field.name] = self._category(values, known)
        if not self._named:
            return np.column_stack(list(found.values()))
        import pandas as pd

        return pd.DataFrame(found)

    def _category(self, values: Sequence[Any], known: Sequence[Any]) -> Any:
        if not self._named:
            return np.array([float(known.index(one)) if one in known else np.nan for one in values])
        import pandas as pd

        strange = dict.fromkeys(one for one in values if not null(one) and one not in known)
        return pd.Categorical([None if null(one) else one for one in values], categories=[*reversed(known), *strange])

    def present(self) -> bool:
        return True

    def close(self) -> None:
        """The library's own memory goes with it."""
