"""Asking a model, and turning whatever it does into an output or one sentence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from mainstay.core.errors import ModelError, ModelRefused, ModelTimeout
from mainstay.core.ports import LoadedModel
from mainstay.models.pre import Pre
from mainstay.serving.view import Snapshot
from mainstay.serving.work import Work

LATE = "the model did not answer before its deadline"


def ask_one(snap: Snapshot, model: LoadedModel, work: Work, deadline_us: int) -> None:
    """Asks for one row alone, so that the same row gives the same bits whoever else asks."""
    ask(snap, model, (work,), deadline_us)


def ask(snap: Snapshot, model: LoadedModel, works: Sequence[Work], deadline_us: int) -> None:
    """Asks for several rows at once; where one is refused, each again alone: nobody pays for a stranger's row."""
    pre = snap.pre
    if pre is not None:
        works = _prepared(pre, works)
        if not works:
            return
    try:
        rows = [work.inputs or () for work in works] if pre is None else [work.fed.row for work in works if work.fed]
        outputs = model.predict(rows, deadline_us=deadline_us)
    except ModelRefused as error:
        if len(works) == 1:
            works[0].error = error.sentence
        else:
            for work in works:
                ask_one(snap, model, work, deadline_us)
        return
    except ModelTimeout:
        fail(works, LATE)
        return
    except ModelError as error:
        fail(works, error.sentence)
        return
    except Exception as error:  # noqa: BLE001 - a runtime is a plug-in; whatever it raises is the model's failure
        fail(works, f"the model failed ({type(error).__name__})")
        return
    if len(outputs) != len(works):
        fail(works, "the model gave another number of answers than it was asked for")
        return
    for work, output in zip(works, outputs, strict=True):
        work.batch = len(works)
        _take(snap, work, output)


def _prepared(pre: Pre, works: Sequence[Work]) -> list[Work]:
    """The works that `model.pre` has made ready; one that it refuses fails alone."""
    ready = []
    for work in works:
        try:
            work.fed = pre(work.inputs or ())
        except ModelRefused as error:
            work.error = error.sentence
            continue
        ready.append(work)
    return ready


def fail(works: Sequence[Work], sentence: str) -> None:
    """Every one of `works` has failed."""
    for work in works:
        work.error = sentence


def _take(snap: Snapshot, work: Work, output: tuple[Any, ...]) -> None:
    work.error = _fault(output, snap.given, snap.given_numbers)
    if work.error:
        return
    if snap.post is None:
        work.output = output
        return
    work.raw = output
    try:
        final = snap.post(output)
    except ModelRefused as error:
        work.error = error.sentence
        return
    work.error = _fault(final, snap.outputs, snap.numbers)
    work.output = None if work.error else final


def _fault(output: tuple[Any, ...], names: tuple[str, ...], numbers: tuple[int, ...]) -> str:
    """Why these cannot leave; empty when they can."""
    if len(output) != len(names):
        return "the model gave another number of outputs than its signature names"
    for place in numbers:
        value = output[place]
        if value is not None and not (isinstance(value, float | int) and math.isfinite(value)):
            return f"the model gave no finite number for `{names[place]}`"
    return ""
