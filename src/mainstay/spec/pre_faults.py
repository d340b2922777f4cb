"""What must fit together inside `model.pre`; the columns are known only where the steps meet the feature set."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from mainstay.core.counts import counted
from mainstay.spec.faults import Faults, Path, shown
from mainstay.spec.plain import fits, mapping, sequence

KINDS = ("impute", "scale", "clip", "map", "bin", "log1p")
STATISTICS = ("median", "mean", "most_frequent")


def cross_check_pre(path: Path, steps: list[Any], model: dict[str, Any], faults: Faults) -> None:
    """Each entry is one step, and its own numbers have an order."""
    for index, entry in enumerate(steps):
        where, said = (*path, index), mapping(entry)
        kinds = [kind for kind in KINDS if kind in said]
        if len(kinds) != 1 and len(kinds) == len(said):
            mend = "write an entry for each: they run in order" if kinds else "write one of " + ", ".join(KINDS)
            faults.at(where, "one step", " and ".join(kinds) or "none", mend)
        for kind in kinds:
            _CHECKS[kind]((*where, kind), mapping(said[kind]), faults)
        if "rule" in model or "constant" in model:
            _statistics((*where, "impute"), mapping(said.get("impute")), faults)


def _statistics(where: Path, said: dict[str, Any], faults: Faults) -> None:
    """A statistic is pinned when a model is added; a model that stands in the file never is."""
    for column, value in said.items():
        if value in STATISTICS:
            mend = "write the value itself: statistics are computed at `mainstay model add`"
            faults.at((*where, column), "a value, for the model stands in the file", shown(value), mend)


def _scale(where: Path, said: dict[str, Any], faults: Faults) -> None:
    ways = [names for names in (("by", "add"), ("mean", "std")) if any(name in said for name in names)]
    if len(ways) != 1:
        came = "both" if ways else "neither"
        faults.at(where, "`by` and `add`, or `mean` and `std`", came, "write one of the two ways")
    elif "mean" in said and "std" not in said:
        faults.at(where, "a `std` beside `mean`", "none", "write {mean: 64.8, std: 30.1}, say")
    if said.get("by") == 0:
        faults.at((*where, "by"), "a number other than 0", "0", "leave the column out of the model instead")


def _clip(where: Path, said: dict[str, Any], faults: Faults) -> None:
    least, most = said.get("min"), said.get("max")
    if least is None and most is None:
        faults.at(where, "`min`, `max` or both", "neither", "write {min: 0, max: 72}, say")
    if fits(least, "number") and fits(most, "number") and least > most:  # type: ignore[operator]
        faults.at((*where, "min"), f"at most the max of {shown(most)}", shown(least), "swap the two")


def _map(where: Path, said: dict[str, Any], faults: Faults) -> None:
    given = {f"values.{word}": value for word, value in mapping(said.get("values")).items()}
    if said.get("otherwise") is not None:
        given["otherwise"] = said["otherwise"]
    kinds = [kind for kind in ("string", "number", "boolean") if any(fits(value, kind) for value in given.values())]
    if len(kinds) > 1:
        faults.at(where, "values of one type", " and ".join(kinds), "write texts, numbers or truths alone")


def _bin(where: Path, said: dict[str, Any], faults: Faults) -> None:
    edges = [edge for edge in sequence(said.get("edges")) if fits(edge, "number")]
    for index, (one, other) in enumerate(pairwise(edges), 1):
        if other <= one:
            faults.at((*where, "edges", index), f"an edge above {shown(one)}", shown(other), "put them in order")
            return
    labels = said.get("labels")
    if isinstance(labels, list) and edges and len(labels) != len(edges) + 1:
        wanted = f"{counted(len(edges) + 1, 'label')} for {counted(len(edges), 'edge')}"
        faults.at((*where, "labels"), wanted, str(len(labels)), "one for below the first edge, one from each edge on")


def _nothing(where: Path, said: dict[str, Any], faults: Faults) -> None:
    del where, said, faults


_CHECKS = {"impute": _nothing, "scale": _scale, "clip": _clip, "map": _map, "bin": _bin, "log1p": _nothing}
