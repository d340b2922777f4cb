"""Bytes that come with a request: base64, and where a picture is wanted, one that may be decoded.

A receipt holds a picture's digest and length, never the picture.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping
from typing import Any

from mainstay.core.ids import digest_bytes
from mainstay.core.nouns import ImageInput
from mainstay.models.images import fault
from mainstay.serving.request import BadRequest


def check(text: str, image: ImageInput | None, where: str) -> None:
    """Raises BadRequest for what is no base64, and for a picture that is not as declared."""
    try:
        data = binascii.a2b_base64(text, strict_mode=True)
    except (binascii.Error, ValueError):
        raise BadRequest(f"`{where}`: wanted bytes in a string (base64), found another string", where=where) from None
    why = "" if image is None else fault(data, image)
    if why:
        raise BadRequest(f"`{where}`: wanted {why}", where=where)


def picture_texts(values: Iterable[Any]) -> list[Any]:
    """Pictures as base64: as they are, in a tensor of bytes; base64 already, where a body is JSON.

    No format begins with what base64 is made of, so the two cannot be taken for each other.
    """
    return [_text(value) if isinstance(value, bytes) else value for value in values]


def _text(value: bytes) -> str:
    try:
        binascii.a2b_base64(value, strict_mode=True)
        return value.decode("ascii")
    except (binascii.Error, ValueError):
        return base64.b64encode(value).decode()


def recorded(images: Mapping[str, ImageInput], names: Iterable[str], values: Iterable[Any]) -> dict[str, Any]:
    """What a receipt holds of a row."""
    found = dict(zip(names, values, strict=True))
    for name in images:
        if isinstance(found.get(name), str):
            data = base64.b64decode(found[name])
            found[name] = {"digest": digest_bytes(data), "bytes": len(data)}
    return found
