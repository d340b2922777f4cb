"""Pictures that come with a request: judged by their first bytes, and only then decoded, as the version declares.

A picture of a few kilobytes can unfold to gigabytes. So its format and size are read from its header here, in plain
code, and held against what is declared, before any library sees it. Sources: PNG specification (W3C), IHDR; ITU-T T.81,
B.2.2 (frame header of JPEG); RFC 9649 (WebP container).
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from mainstay.core.errors import ModelRefused
from mainstay.core.nouns import ImageInput
from mainstay.core.records import ModelVersion

if TYPE_CHECKING:
    import numpy as np

_PNG = b"\x89PNG\r\n\x1a\n"
_MODES = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"})
"""Modes of 8 bits a channel; of more, what is black and what is white is anybody's guess."""
_NO_LENGTH = frozenset({0x01, *range(0xD0, 0xD9)})
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
EXTRA = 'pip install "mainstay[images]"'


class Header(NamedTuple):
    """What the first bytes of a picture say."""

    format: str
    """png, jpeg or webp."""
    width: int
    height: int
    whole: bool
    """Whether its end is there."""


def images_of(version: ModelVersion) -> dict[str, ImageInput]:
    """Input -> how it is decoded; empty for a version that eats no pictures."""
    return msgspec.convert(version.options.get("images", {}), dict[str, ImageInput])


def header_of(data: bytes) -> Header | None:
    """None for what is no png, jpeg or webp, or too broken to say its size."""
    if data.startswith(_PNG):
        if len(data) < 33 or data[12:16] != b"IHDR":
            return None
        width, height = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
        found = Header("png", width, height, b"IEND" in data[-16:])
    elif data.startswith(b"\xff\xd8"):
        size = _jpeg(data)
        if size is None:
            return None
        found = Header("jpeg", *size, b"\xff\xd9" in data)
    elif data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        size = _webp(data)
        if size is None:
            return None
        found = Header("webp", *size, len(data) >= int.from_bytes(data[4:8], "little") + 8)
    else:
        return None
    return found if found.width and found.height else None


def fault(data: bytes, image: ImageInput) -> str:
    """Why this picture is not decoded; empty when it may be. Never says what came, but for its size."""
    if len(data) > image.max_bytes:
        return f"a picture of at most {image.max_bytes:,} bytes, found {len(data):,}"
    header = header_of(data)
    if header is None or header.format not in image.formats:
        return f"a picture as {', '.join(image.formats)}, found {header.format if header else 'none of them'}"
    if header.width * header.height > image.max_pixels:
        return f"a picture of at most {image.max_pixels:,} pixels, found {header.width:,} x {header.height:,}"
    return "" if header.whole else "a whole picture, found one that is cut off"


def decoded(data: bytes, image: ImageInput) -> np.ndarray[Any, Any]:
    """The picture as numbers, float32, in the declared layout. Raises ModelRefused; judges by `fault` first."""
    import numpy as np
    from PIL import Image, ImageOps

    why = fault(data, image)
    if why:
        raise ModelRefused(f"wanted {why}")
    resample = Image.Resampling[image.resample.upper()]
    size = (image.width, image.height)
    deep = False
    try:
        with Image.open(io.BytesIO(data), formats=[one.upper() for one in image.formats]) as opened:
            deep = opened.mode not in _MODES
            plain = opened.convert("RGBA") if "transparency" in opened.info else opened
            plain = plain.convert(image.mode)
        if image.fit == "crop":
            plain = ImageOps.fit(plain, size, method=resample)
        elif plain.size != size:
            plain = plain.resize(size, resample)
    except Exception as error:  # noqa: BLE001 - Pillow raises what its decoders do, with bytes of the picture in it
        raise ModelRefused(f"the picture cannot be decoded ({type(error).__name__})") from None
    if deep:
        raise ModelRefused("wanted a picture of 8 bits a channel")
    pixels: np.ndarray[Any, Any] = np.asarray(plain, dtype=np.float32)
    pixels = pixels.reshape(image.height, image.width, image.channels) / np.float32(image.scale)
    if image.mean:
        pixels = pixels - np.asarray(image.mean, dtype=np.float32)
    if image.std:
        pixels = pixels / np.asarray(image.std, dtype=np.float32)
    return pixels.transpose(2, 0, 1) if image.layout == "chw" else pixels


def need_pillow() -> None:
    """Raises ModelRefused where nothing can decode pictures."""
    try:
        import PIL.Image  # noqa: F401
    except ImportError:
        raise ModelRefused("pictures need Pillow, which is not installed", mend=EXTRA) from None


def shape_of(image: ImageInput) -> tuple[int, int, int]:
    """Of one picture, in the declared layout."""
    size = (image.height, image.width)
    return (image.channels, *size) if image.layout == "chw" else (*size, image.channels)


def told(images: Mapping[str, ImageInput]) -> dict[str, Any]:
    """As a version's options keep them."""
    found: dict[str, Any] = msgspec.to_builtins(dict(images))
    return found


def _jpeg(data: bytes) -> tuple[int, int] | None:
    """Width and height out of the frame header, behind whatever segments come first."""
    at = 2
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            return None
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1  # a marker may be padded with 0xFF
        elif marker in _NO_LENGTH:
            at += 2
        elif marker in _FRAMES:
            if at + 9 > len(data):
                return None
            return int.from_bytes(data[at + 7 : at + 9], "big"), int.from_bytes(data[at + 5 : at + 7], "big")
        else:
            length = int.from_bytes(data[at + 2 : at + 4], "big")
            if length < 2 or marker in {0xD9, 0xDA}:
                return None
            at += 2 + length
    return None


def _webp(data: bytes) -> tuple[int, int] | None:
    """Width and height of the canvas, which no frame exceeds."""
    kind, body = data[12:16], data[20:30]
    if len(body) < 10:
        return None
    if kind == b"VP8X":
        return int.from_bytes(body[4:7], "little") + 1, int.from_bytes(body[7:10], "little") + 1
    if kind == b"VP8L" and body[0] == 0x2F:
        bits = int.from_bytes(body[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 " and body[3:6] == b"\x9d\x01\x2a":
        return int.from_bytes(body[6:8], "little") & 0x3FFF, int.from_bytes(body[8:10], "little") & 0x3FFF
    return None
