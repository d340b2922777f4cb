"""XGBoost models, saved as `.json` or `.ubj`, in process and on one thread: data, not a pickle.

Options, all of which `model add` fills in: those of `TreeModel`, and

    rounds     [first, end) of the boosting rounds that answer; [0, 0]: all of them
    objective  what replaces the file's own, where that hides its probabilities (multi:softmax)

What stood for missing in training must come as null: the file does not say it. Numbers are compared as float32, as the
library does it.
"""

from __future__ import annotations

import ctypes
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mainstay.core.clock import Clock, SystemClock
from mainstay.core.counts import counted
from mainstay.core.errors import ModelRefused
from mainstay.core.nouns import Signature
from mainstay.core.ports import LoadedModel
from mainstay.models.runtimes.trees import TreeModel, shared_library
from mainstay.models.runtimes.ubjson import whole

_NAMES = ("libxgboost.so", "libxgboost.dylib", "xgboost.dll")
_MOST = 3.4028234663852886e38  # float32's


class XgboostRuntime:
    """See the module for its options."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._library = shared_library("xgboost", *_NAMES)
        self._library.XGBGetLastError.restype = ctypes.c_char_p

    def load(self, artifact: Path | None, signature: Signature, options: Mapping[str, Any]) -> LoadedModel:
        """Raises ModelRefused when the bytes are no XGBoost model or its columns are not the signature's."""
        booster = self.open(artifact, rounds=options.get("rounds", (0, 0)), objective=options.get("objective", ""))
        if booster.width != len(signature.inputs):
            raise ModelRefused(
                f"the model takes {counted(booster.width, 'column')}, and the signature has {len(signature.inputs)}"
            )
        build = f"xgboost {self.version} cpu"
        return TreeModel(booster, signature, options, closed=True, build=build, clock=self._clock)

    def open(self, artifact: Path | None, *, rounds: Sequence[int] = (0, 0), objective: str = "") -> XgboostBooster:
        """The model without a signature, for whoever reads what it says of itself."""
        if artifact is None:
            raise ModelRefused("an XGBoost model needs its file")
        data = artifact.read_bytes()
        if data[1:2].isalpha() and not whole(data):  # JSON has a quote there, or white space
            raise ModelRefused(
                "this XGBoost model is cut short, or is no model",
                mend="copy it again, or write it again with booster.save_model(FILE)",
            )
        return XgboostBooster(self._library, data, rounds, objective)

    @property
    def version(self) -> str:
        parts = [ctypes.c_int() for _ in range(3)]
        self._library.XGBoostVersion(*map(ctypes.byref, parts))
        return ".".join(str(part.value) for part in parts)


class XgboostBooster:
    """One handle of the library. In-place prediction is safe between threads."""

    dtype = np.float32
    most = _MOST

    def __init__(self, library: ctypes.CDLL, data: bytes, rounds: Sequence[int], objective: str) -> None:
        self._library = library
        self._handle = ctypes.c_void_p()
        self._call("XGBoosterCreate", None, ctypes.c_uint64(0), ctypes.byref(self._handle))
        self._call("XGBoosterLoadModelFromBuffer", self._handle, data, ctypes.c_uint64(len(data)))
        self._call("XGBoosterSetParam", self._handle, b"nthread", b"1")
        if objective:
            self._call("XGBoosterSetParam", self._handle, b"objective", objective.encode())
        width = ctypes.c_uint64()
        self._call("XGBoosterGetNumFeature", self._handle, ctypes.byref(width))
        self.width = width.value
        self._asked = {margin: _asked(rounds, margin=margin) for margin in (False, True)}

    def _call(self, name: str, *arguments: Any) -> None:
        if getattr(self._library, name)(*arguments):
            told = self._library.XGBGetLastError().decode("utf-8", "replace")
            raise ModelRefused(
                f"XGBoost refuses this: {_sentence(told)}",
                mend="if the file was cut short, write it again with booster.save_model(FILE)"
                if "Load" in name
                else "",
            )

    def described(self) -> dict[str, Any]:
        """The model as its JSON says it, whichever form the file has."""
        size, data = ctypes.c_uint64(), ctypes.c_void_p()
        self._call(
            "XGBoosterSaveModelToBuffer", self._handle, b'{"format": "json"}', ctypes.byref(size), ctypes.byref(data)
        )
        told: dict[str, Any] = json.loads(ctypes.string_at(data, size.value))
        return told

    def slot(self) -> _Slot:
        return _Slot(self)

    def scores(self, matrix: np.ndarray[Any, Any], *, margin: bool) -> list[list[float]]:
        found, shape = self.run(_interface(matrix.ctypes.data, *matrix.shape), margin=margin)
        scores: list[list[float]] = np.ctypeslib.as_array(found, shape=shape).tolist()
        return scores

    def run(self, interface: bytes, *, margin: bool) -> tuple[Any, tuple[int, int]]:
        """A pointer to the scores, which the next call of this thread overwrites, and their rows and columns."""
        shape = ctypes.POINTER(ctypes.c_uint64)()
        dimensions = ctypes.c_uint64()
        scores = ctypes.POINTER(ctypes.c_float)()
        self._call(
            "XGBoosterPredictFromDense",
            self._handle,
            interface,
            self._asked[margin],
            None,
            ctypes.byref(shape),
            ctypes.byref(dimensions),
            ctypes.byref(scores),
        )
        return scores, (shape[0], shape[1] if dimensions.value > 1 else 1)

    def __del__(self) -> None:
        if self._handle.value:
            self._library.XGBoosterFree(self._handle)


class _Slot:
    """One thread's row, and the description of its place in memory, made once."""

    def __init__(self, booster: XgboostBooster) -> None:
        self.values = (ctypes.c_float * booster.width)()
        self._booster = booster
        self._interface = _interface(ctypes.addressof(self.values), 1, booster.width)

    def scores(self, *, margin: bool) -> list[float]:
        found, (_, columns) = self._booster.run(self._interface, margin=margin)
        scores: list[float] = found[:columns]
        return scores


def _interface(address: int, rows: int, columns: int) -> bytes:
    """NumPy's array interface, as the library wants to be told where a matrix lies."""
    told = {"data": [address, True], "shape": [rows, columns], "typestr": "<f4", "version": 3}
    return json.dumps(told).encode()


def _asked(rounds: Sequence[int], *, margin: bool) -> bytes:
    first, end = rounds
    asked = {
        "type": int(margin),
        "training": False,
        "iteration_begin": first,
        "iteration_end": end,
        "strict_shape": True,
        "missing": float("nan"),
    }
    return json.dumps(asked).encode()


def _sentence(told: str) -> str:
    """The library's error without its place in the source and its stack; it may quote what it read."""
    first = told.partition("Stack trace")[0].strip().partition("\n")[0]
    said = first.rpartition(": ")[2] if "Check failed" in first else first.partition(".cc:")[2] or first
    return said.strip(" :")[:160] or "the file is cut short, or is no model"
