"""What must fit together in a request-time input that is a picture."""

from __future__ import annotations

from typing import Any

from mainstay.spec.faults import Faults, Path, shown
from mainstay.spec.plain import mapping, sequence, text


def cross_check_images(path: Path, inputs: dict[str, Any], faults: Faults) -> None:
    """It is of type bytes, and has a number for each channel."""
    for name, entry in inputs.items():
        said = mapping(entry)
        if "image" not in said:
            continue
        if text(said.get("type")) not in {"", "bytes"}:
            faults.at((*path, name, "type"), "`bytes`, for a picture", shown(said["type"]), "write `type: bytes`")
        image = mapping(said["image"])
        channels = 1 if image.get("mode") == "L" else 3
        for key in ("mean", "std"):
            numbers = sequence(image.get(key))
            where = (*path, name, "image", key)
            if numbers and len(numbers) != channels:
                faults.at(where, f"{channels} numbers, one for each channel", str(len(numbers)), "write one for each")
            if key == "std" and any(one == 0 for one in numbers):
                faults.at(where, "numbers other than 0", "a 0", "nothing can be divided by it")
