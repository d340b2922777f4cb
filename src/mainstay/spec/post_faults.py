"""What must fit together inside `model.post`; the outputs are known only where the file itself has the model."""

from __future__ import annotations

from typing import Any

from mainstay.spec.faults import Faults, Path, shown
from mainstay.spec.plain import fits, mapping, sequence, text

KINDS = ("scale", "calibrate", "threshold", "words", "top")


def cross_check_post(path: Path, steps: list[Any], faults: Faults) -> None:
    """Each entry is one step, and its own numbers have an order."""
    for index, entry in enumerate(steps):
        where, said = (*path, index), mapping(entry)
        kinds = [kind for kind in KINDS if kind in said]
        if len(kinds) != 1 and len(kinds) == len(said):
            mend = "write an entry for each: they run in order" if kinds else "write one of " + ", ".join(KINDS)
            faults.at(where, "one step", " and ".join(kinds) or "none", mend)
        for kind in kinds:
            _CHECKS[kind]((*where, kind), mapping(said[kind]), faults)


def _scale(where: Path, said: dict[str, Any], faults: Faults) -> None:
    least, greatest = said.get("min"), said.get("max")
    if fits(least, "number") and fits(greatest, "number") and least > greatest:  # type: ignore[operator]
        faults.at((*where, "min"), f"at most the max of {shown(greatest)}", shown(least), "swap the two")
    if said.get("by") == 0:
        faults.at((*where, "by"), "a number other than 0", "0", "write a constant if the answer is always the same")


def _calibrate(where: Path, said: dict[str, Any], faults: Faults) -> None:
    ways = [name for name in ("platt", "isotonic") if name in said]
    if len(ways) != 1:
        faults.at(where, "`platt` or `isotonic`", " and ".join(ways) or "neither", "write one of the two")
    before: list[float] | None = None
    for index, point in enumerate(sequence(said.get("isotonic"))):
        place = (*where, "isotonic", index)
        numbers = [one for one in sequence(point) if fits(one, "number")]
        if len(numbers) != 2 or len(sequence(point)) != 2:
            faults.at(place, "a point [x, y]", shown(point), "write [0.5, 0.42], say")
            return
        if not 0 <= numbers[1] <= 1:
            faults.at(place, "a probability as y", shown(numbers[1]), "between 0 and 1")
        if before is not None and (numbers[0] <= before[0] or numbers[1] < before[1]):
            mend = "order the points by x; y never falls"
            faults.at(place, f"a point after {before}", str(numbers), mend)
        before = numbers


def _threshold(where: Path, said: dict[str, Any], faults: Faults) -> None:
    above, below = said.get("above"), said.get("below")
    if above is None or below is None:
        return
    same = [kind for kind in ("string", "number", "boolean") if fits(above, kind) and fits(below, kind)]
    if not same:
        mend = "write two texts, two numbers or two truths"
        faults.at((*where, "below"), f"a value like {shown(above)}", shown(below), mend)


def _top(where: Path, said: dict[str, Any], faults: Faults) -> None:
    names, take = [text(one) for one in sequence(said.get("of"))], said.get("take")
    for index, name in enumerate(names):
        if name and name in names[:index]:
            faults.at((*where, "of", index), "an output once", f"{shown(name)} again", "delete it")
    if names and isinstance(take, int) and take > len(names):
        faults.at((*where, "take"), f"at most the {len(names)} of `of`", shown(take), f"write {len(names)}")


def _nothing(where: Path, said: dict[str, Any], faults: Faults) -> None:
    del where, said, faults


_CHECKS = {"scale": _scale, "calibrate": _calibrate, "threshold": _threshold, "words": _nothing, "top": _top}
