"""What must fit together inside `model.request_inputs`."""

from __future__ import annotations

import re
from typing import Any

from mainstay.spec.faults import Faults, Path, shown
from mainstay.spec.plain import fits, mapping, sequence, text, type_of


def cross_check_requests(path: Path, inputs: dict[str, Any], faults: Faults) -> None:
    """Each input's limits against its type, and its example against its limits."""
    for name, one in inputs.items():
        where, said, kind = (*path, name), mapping(one), type_of(inputs, name)
        least, greatest = said.get("min"), said.get("max")
        if _above(least, greatest):
            faults.at((*where, "min"), f"at most the max of {shown(greatest)}", shown(least), "swap the two")
        for check in ("length", "pattern"):
            if check in said and kind and kind != "string":
                mend = "delete it, or change the type to string"
                faults.at((*where, check), f"a {check} for an input of type string", f"one of type {kind}", mend)
        length = mapping(said.get("length"))
        if _above(length.get("min"), length.get("max")):
            came = shown(length["min"])
            faults.at((*where, "length", "min"), f"at most the max of {length['max']}", came, "swap the two")
        if kind == "timestamp" and "values" in said:  # one instant has many ways to be written
            faults.at((*where, "values"), "values for another type", "an input of type timestamp", "delete them")
            continue
        for index, value in enumerate(sequence(said.get("values"))):
            _of_type((*where, "values", index), value, kind, faults)
        if "example" in said:
            _of_type((*where, "example"), said["example"], kind, faults)
            _example((*where, "example"), said, faults)


def _above(least: object, greatest: object) -> bool:
    return fits(least, "number") and fits(greatest, "number") and least > greatest  # type: ignore[operator]


def _of_type(where: Path, value: object, kind: str, faults: Faults) -> None:
    if kind and not isinstance(value, (list, dict)) and not fits(value, kind):
        mend = f'put it in quotes: "{shown(value)}"' if kind == "string" else "change the value or the type"
        faults.at(where, f"a value of type {kind}", shown(value), mend)


def _example(where: Path, said: dict[str, Any], faults: Faults) -> None:
    value, length = said["example"], mapping(said.get("length"))
    values, pattern = sequence(said.get("values")), text(said.get("pattern"))
    if values and value not in values:
        faults.at(where, "one of `values`", shown(value), "write one of them")
    if _above(said.get("min"), value) or _above(value, said.get("max")):
        faults.at(where, "a value inside min and max", shown(value), "change the example or the range")
    if not isinstance(value, str):
        return
    if _above(length.get("min"), len(value)) or _above(len(value), length.get("max")):
        faults.at(where, "a text of this length", f"one of {len(value)} characters", "change the example or the length")
    try:
        fitting = not pattern or re.fullmatch(pattern, value) is not None
    except (re.error, OverflowError, RecursionError):
        return  # told where the pattern stands
    if not fitting:
        faults.at(where, "a text that matches `pattern`", shown(value), "change the example or the pattern")
