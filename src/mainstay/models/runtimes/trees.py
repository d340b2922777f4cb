"""What XGBoost and LightGBM share: a feature row becomes a row of floats, and scores become outputs.

Both libraries are called through their documented C interface. Their Python packages bring the library and are not
imported: they cost seconds and hundreds of megabytes in every worker, and for one row most of the time.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from math import inf, nan
from pathlib import Path
from struct import Struct
from struct import error as struct_error
from sys import float_info
from typing import Any, Protocol

import numpy as np

from mainstay.core.clock import Clock
from mainstay.core.errors import ModelRefused, ModelTimeout
from mainstay.core.nouns import Field, Signature
from mainstay.core.ports import Row, RuntimeCapabilities
from mainstay.models.inputs import check_rows, null, required_of, wrong_type

_NOT_FINITE = frozenset({"Infinity", "-Infinity"})


class Slot(Protocol):
    """Room for one row, of one thread. Write `values`, then ask for the scores."""

    values: Any
    """A C array of as many floats as the model has columns."""

    def scores(self, *, margin: bool) -> list[float]: ...


class Booster(Protocol):
    """A loaded library model. `margin`: the sum over the trees, before the objective makes a value of it."""

    dtype: Any
    most: float
    """The largest magnitude that it takes."""

    def slot(self) -> Slot: ...

    def scores(self, matrix: np.ndarray[Any, Any], *, margin: bool) -> list[list[float]]:
        """A list for each row of the matrix, one score for each class or target."""
        ...


class TreeModel:
    """A `LoadedModel` over a booster.

    Options: `codes`, input -> its categories in the order of their codes; `outputs`, in signature order, each with
    `how` (column, complement, class), `column` and `margin`.
    """

    capabilities = RuntimeCapabilities(blocking=False)

    def __init__(
        self,
        booster: Booster,
        signature: Signature,
        options: Mapping[str, Any],
        *,
        closed: bool,
        build: str,
        clock: Clock,
    ) -> None:
        self.build = build
        self._booster: Booster | None = booster
        self._feed = Feed(signature, options.get("codes", {}), closed=closed, most=booster.most)
        self._width = len(signature.inputs)
        self._required = required_of(signature)
        self._clock = clock
        self._local = threading.local()
        plan = options.get("outputs", ())
        if [entry["name"] for entry in plan] != [field.name for field in signature.outputs]:
            raise ModelRefused("the options name other outputs than the signature")
        single = booster.dtype == np.float32
        self._picks = [(bool(entry["margin"]), _pick(entry["how"], entry["column"], single=single)) for entry in plan]
        self._asks = sorted({margin for margin, _ in self._picks})
        self._only = self._asks[0] if len(self._asks) == 1 else None

    def predict(self, rows: Sequence[Row], *, deadline_us: int | None = None) -> list[tuple[Any, ...]]:
        booster = self._booster
        if booster is None:
            raise ModelRefused("the model was closed")
        check_rows(rows, self._width, self._required)
        if not rows:
            return []
        if deadline_us is not None and self._clock.monotonic_us() > deadline_us:
            raise ModelTimeout("the deadline had passed before the model was asked")
        if len(rows) == 1:
            slot = self._slot(booster)
            self._feed.fill(slot.values, rows[0])
            if self._only is not None:
                scores = slot.scores(margin=self._only)
                return [tuple([pick(scores) for _, pick in self._picks])]
            alone = {margin: slot.scores(margin=margin) for margin in self._asks}
            return [tuple([pick(alone[margin]) for margin, pick in self._picks])]
        matrix = np.empty((len(rows), self._width), dtype=booster.dtype)
        for number, row in enumerate(rows):
            self._feed.fill(matrix[number], row)
        many = {margin: booster.scores(matrix, margin=margin) for margin in self._asks}
        return list(zip(*([pick(one) for one in many[margin]] for margin, pick in self._picks), strict=True))

    def _slot(self, booster: Booster) -> Slot:
        try:
            found: Slot = self._local.slot
        except AttributeError:
            found = self._local.slot = booster.slot()
        return found

    def present(self) -> bool:
        return True

    def close(self) -> None:
        # The library's memory goes with the last reference: a thread that still predicts holds one.
        self._booster = None
        self._local = threading.local()


class Feed:
    """Writes rows in the order of the signature. Nulls become NaN, categories their codes.

    `closed`: the library refuses categories that it was not trained on; else they count as missing.
    """

    def __init__(self, signature: Signature, codes: Mapping[str, Sequence[Any]], *, closed: bool, most: float) -> None:
        self._fields = signature.inputs
        self._codes = [
            {value: float(code) for code, value in enumerate(codes[field.name])} if field.name in codes else None
            for field in signature.inputs
        ]
        self._closed = closed
        self._most = most
        self._usual = min(most, float_info.max)
        # Any number is good as it is: a whole row of them is packed at once, in a fifth of the time.
        self._whole = Struct(f"{len(self._codes)}d") if most == inf and not any(self._codes) else None

    def fill(self, room: Any, row: Row) -> None:
        """Raises ModelRefused for a value that is not of its input's type, or that the library refuses."""
        if self._whole is not None:
            try:
                self._whole.pack_into(room, 0, *row)
            except struct_error:
                pass  # a null, a word for what is not finite, a number past every float, another type
            else:
                return
        most = self._usual
        for place, codes in enumerate(self._codes):
            value = row[place]
            kind = type(value)
            if codes is None and (kind is float or kind is int) and -most <= value <= most:
                room[place] = value
            else:
                room[place] = self._value(value, self._fields[place], codes)

    def _value(self, value: Any, field: Field, codes: Mapping[Any, float] | None) -> float:
        if null(value) or (value == "NaN" and field.type == "number"):
            return nan
        if codes is not None:
            return self._code(value, field, codes)
        if isinstance(value, str) and value not in _NOT_FINITE:
            raise wrong_type(field)
        if not isinstance(value, (str, int, float)):
            raise wrong_type(field)
        number = _number(value)
        if abs(number) > self._most:
            raise ModelRefused(
                f"{field.name} is infinite or too large for this model, and its library refuses that",
                mend=f"give {field.name} as null in the feature SQL where it has no such value",
            )
        return number

    def _code(self, value: Any, field: Field, codes: Mapping[Any, float]) -> float:
        if isinstance(value, str) != (field.type == "string") or not isinstance(value, (str, int, float)):
            raise wrong_type(field)
        code = codes.get(value)
        if code is None and self._closed:
            raise ModelRefused(f"{field.name} has a category that the model was not trained on, and it refuses those")
        return nan if code is None else code


def _number(value: str | float) -> float:
    try:
        return float(value)
    except OverflowError:  # a whole number past every float
        return inf


def _pick(how: str, column: int, *, single: bool) -> Callable[[list[float]], Any]:
    """How an output is taken out of a row's scores."""
    if how == "column":
        return lambda scores: scores[column]
    if how == "class":
        return lambda scores: scores.index(max(scores))
    if how == "complement" and single:
        return lambda scores: ctypes.c_float(1.0 - scores[column]).value
    if how == "complement":
        return lambda scores: 1.0 - scores[column]
    raise ModelRefused(f"the options take an output by {how!r}", mend="known ones: column, complement, class")


def shared_library(package: str, *names: str) -> ctypes.CDLL:
    """The C library that the package brings, the package itself not imported. Raises ImportError without it."""
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ImportError(f"No module named {package!r}", name=package)
    for folder in spec.submodule_search_locations:
        for name in names:
            for place in (Path(folder) / "lib" / name, Path(folder) / name):
                if place.is_file():
                    return ctypes.CDLL(str(place))
    for name in names:  # packaged by a distribution: the library lies where the system keeps its own
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    raise ImportError(f"{package} is installed without its library ({', '.join(names)})", name=package)
