"""LightGBM models, saved as `.txt`, in process and on one thread: data, not a pickle.

Options, all of which `model add` fills in, are those of `TreeModel`. A category that the model was not trained on
counts as missing, as in the library. What stood for missing in training must come as null.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Mapping
from importlib.metadata import version
from math import inf
from pathlib import Path
from typing import Any

import numpy as np

from mainstay.core.clock import Clock, SystemClock
from mainstay.core.counts import counted
from mainstay.core.errors import ModelRefused
from mainstay.core.nouns import Signature
from mainstay.core.ports import LoadedModel
from mainstay.models.runtimes.trees import TreeModel, shared_library

_NAMES = ("lib_lightgbm.so", "lib_lightgbm.dylib", "lib_lightgbm.dll")
_FLOAT64 = 1
_ROW_MAJOR = 1
_ONE_THREAD = b"num_threads=1"
_ALL = -1


class LightgbmRuntime:
    """See the module for its options."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._library = shared_library("lightgbm", *_NAMES)
        self._library.LGBM_GetLastError.restype = ctypes.c_char_p

    def load(self, artifact: Path | None, signature: Signature, options: Mapping[str, Any]) -> LoadedModel:
        """Raises ModelRefused when the bytes are no LightGBM model or its columns are not the signature's."""
        booster = self.open(artifact)
        if booster.width != len(signature.inputs):
            raise ModelRefused(
                f"the model takes {counted(booster.width, 'column')}, and the signature has {len(signature.inputs)}"
            )
        build = f"lightgbm {version('lightgbm')} cpu"
        return TreeModel(booster, signature, options, closed=False, build=build, clock=self._clock)

    def open(self, artifact: Path | None) -> LightgbmBooster:
        """The model without a signature, for whoever reads what it says of itself."""
        if artifact is None:
            raise ModelRefused("a LightGBM model needs its file")
        data = artifact.read_bytes()
        if not data.startswith(b"tree"):
            raise ModelRefused("this is no LightGBM model: the text that `save_model` writes begins with `tree`")
        if not _whole(data):
            raise ModelRefused(
                "this LightGBM model is cut short: it has not all that it says",
                mend="copy it again, or write it again with booster.save_model(FILE)",
            )
        return LightgbmBooster(self._library, data)


def _whole(data: bytes) -> bool:
    """Whether every tree that the head promises is there: the library itself dies of a file that was cut."""
    head = data.partition(b"\nTree=")[0]
    sizes = next((line for line in head.splitlines() if line.startswith(b"tree_sizes=")), None)
    ended = data.find(b"\nend of trees")
    if sizes is None or ended < 0:
        return sizes is None and ended < 0  # no model at all, of which the library says what lacks
    trees = [int(size) for size in sizes.partition(b"=")[2].split()]
    after = data[ended:]
    closed = b"\nparameters:" not in after or b"\nend of parameters" in after
    return closed and data.count(b"\nTree=", 0, ended) == len(trees) and ended >= sum(trees)


class LightgbmBooster:
    """One handle of the library."""

    dtype = np.float64
    most = inf

    def __init__(self, library: ctypes.CDLL, data: bytes) -> None:
        self._library = library
        self._handle = ctypes.c_void_p()
        self._fast: dict[bool, ctypes.c_void_p] = {}
        rounds, width, columns = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
        self._call("LGBM_BoosterLoadModelFromString", data, ctypes.byref(rounds), ctypes.byref(self._handle))
        self._call("LGBM_BoosterGetNumFeature", self._handle, ctypes.byref(width))
        self._call("LGBM_BoosterGetNumClasses", self._handle, ctypes.byref(columns))
        self.width, self.columns = width.value, columns.value
        # The fast path for one row works in memory that belongs to the model.
        self._lock = threading.Lock()
        self._one_row = library.LGBM_BoosterPredictForMatSingleRowFast
        self._written = ctypes.byref(ctypes.c_int64())

    def _call(self, name: str, *arguments: Any) -> None:
        self._check(getattr(self._library, name)(*arguments))

    def _check(self, failed: int) -> None:
        if failed:
            told = self._library.LGBM_GetLastError().decode("utf-8", "replace")
            raise ModelRefused(f"LightGBM refuses this: {told[:160]}")

    def slot(self) -> _Slot:
        return _Slot(self)

    def scores(self, matrix: np.ndarray[Any, Any], *, margin: bool) -> list[list[float]]:
        rows = len(matrix)
        found = np.empty((rows, self.columns), dtype=np.float64)
        self._call(
            "LGBM_BoosterPredictForMat",
            self._handle,
            ctypes.c_void_p(matrix.ctypes.data),
            _FLOAT64,
            ctypes.c_int32(rows),
            ctypes.c_int32(self.width),
            _ROW_MAJOR,
            int(margin),
            0,
            _ALL,
            _ONE_THREAD,
            ctypes.byref(ctypes.c_int64()),
            ctypes.c_void_p(found.ctypes.data),
        )
        scores: list[list[float]] = found.tolist()
        return scores

    def run(self, row: Any, into: Any, *, margin: bool) -> None:
        """The scores of one row, by a plan that the library keeps between calls."""
        with self._lock:
            plan = self._fast.get(margin)
            if plan is None:
                plan = self._fast[margin] = self._plan(margin=margin)
            self._check(self._one_row(plan, row, self._written, into))

    def _plan(self, *, margin: bool) -> ctypes.c_void_p:
        plan = ctypes.c_void_p()
        self._call(
            "LGBM_BoosterPredictForMatSingleRowFastInit",
            self._handle,
            int(margin),
            0,
            _ALL,
            _FLOAT64,
            ctypes.c_int32(self.width),
            _ONE_THREAD,
            ctypes.byref(plan),
        )
        return plan

    def __del__(self) -> None:
        for plan in self._fast.values():
            self._library.LGBM_FastConfigFree(plan)
        if self._handle.value:
            self._library.LGBM_BoosterFree(self._handle)


class _Slot:
    """One thread's row and its scores."""

    def __init__(self, booster: LightgbmBooster) -> None:
        self.values = (ctypes.c_double * booster.width)()
        self._booster = booster
        self._scores = (ctypes.c_double * booster.columns)()

    def scores(self, *, margin: bool) -> list[float]:
        self._booster.run(self.values, self._scores, margin=margin)
        return self._scores[:]
