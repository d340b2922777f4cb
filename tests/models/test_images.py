"""Pictures are judged by their headers, before any library unfolds them, and decoded as declared."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainstay.core.errors import ModelRefused
from mainstay.core.nouns import Field, ImageInput, Signature
from mainstay.models.images import decoded, fault, header_of, told
from mainstay.models.importing import examine
from mainstay.models.runtimes.onnx import OnnxRuntime
from mainstay.testing.runtime_suite import RUNTIME_SUITE, RuntimeCase
from tests.models.pictures import bomb, graph, picture, text

PLAIN = ImageInput(width=4, height=4)
FORMS: list[tuple[str, str, dict[str, Any]]] = [
    ("PNG", "png", {}),
    ("JPEG", "jpeg", {}),
    ("JPEG", "jpeg", {"progressive": True}),
    ("WEBP", "webp", {}),
    ("WEBP", "webp", {"lossless": True}),
    ("WEBP", "webp", {"exif": b"Exif\0\0II*\0\x08\0\0\0\0\0"}),
]


@settings(max_examples=60, deadline=None)
@given(form=st.sampled_from(FORMS), width=st.integers(1, 300), height=st.integers(1, 300))
def test_a_header_says_what_pillow_says(form: tuple[str, str, dict[str, Any]], width: int, height: int) -> None:
    kind, name, options = form
    found = header_of(picture(kind, (width, height), **options))
    assert found is not None
    assert (found.format, found.width, found.height, found.whole) == (name, width, height, True)


@settings(max_examples=300, deadline=None)
@given(
    data=st.binary(max_size=80),
    front=st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8", b"RIFF\0\0\0\0WEBPVP8L"]),
)
def test_whatever_comes_is_judged_without_an_error(data: bytes, front: bytes) -> None:
    assert isinstance(fault(front + data, PLAIN), str)


def test_a_bomb_is_refused_by_its_header() -> None:
    data = bomb()
    assert len(data) < 1_000
    assert fault(data, PLAIN) == "a picture of at most 16,000,000 pixels, found 60,000 x 60,000"
    with pytest.raises(ModelRefused, match="at most 16,000,000 pixels"):
        decoded(data, PLAIN)


@pytest.mark.parametrize(
    ("data", "image", "told_"),
    [
        (b"hello", PLAIN, "a picture as png, jpeg, webp, found none of them"),
        (picture("GIF", mode="L"), PLAIN, "found none of them"),
        (picture("JPEG"), ImageInput(width=4, height=4, formats=("png",)), "a picture as png, found jpeg"),
        (picture("PNG"), ImageInput(width=4, height=4, max_bytes=100), "at most 100 bytes"),
        (picture("PNG")[:-20], PLAIN, "cut off"),
        (picture("JPEG")[:-20], PLAIN, "cut off"),
        (picture("WEBP")[:-20], PLAIN, "cut off"),
    ],
)
def test_what_is_not_as_declared_is_refused(data: bytes, image: ImageInput, told_: str) -> None:
    assert told_ in fault(data, image)


def test_what_a_header_hides_is_found_when_it_is_decoded() -> None:
    broken = bytearray(picture("PNG", (64, 64)))
    broken[60:90] = bytes(30)
    with pytest.raises(ModelRefused, match="cannot be decoded"):
        decoded(bytes(broken), PLAIN)
    import io

    from PIL import Image

    deep = io.BytesIO()
    Image.fromarray(np.zeros((4, 4), dtype=np.uint16)).save(deep, "PNG")
    with pytest.raises(ModelRefused, match="8 bits"):
        decoded(deep.getvalue(), PLAIN)


def test_a_picture_becomes_the_numbers_that_are_declared() -> None:
    data = picture("PNG", (4, 4))
    raw = decoded(data, ImageInput(width=4, height=4, layout="hwc", scale=1))
    assert raw.shape == (4, 4, 3)
    assert raw.min() >= 0
    assert raw.max() > 200
    made = decoded(data, ImageInput(width=4, height=4, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4)))
    wanted = (raw / 255 - np.array([0.5, 0.4, 0.3])) / np.array([0.2, 0.3, 0.4])
    assert np.allclose(made, wanted.transpose(2, 0, 1), atol=1e-6)
    assert made.dtype == np.float32
    assert decoded(data, ImageInput(width=4, height=4, mode="L")).shape == (1, 4, 4)
    for mode in ("L", "LA", "RGBA"):
        assert decoded(picture("PNG", (9, 4), mode), PLAIN).shape == (3, 4, 4)


def test_a_crop_keeps_the_middle_and_a_stretch_all_of_it() -> None:
    import io

    from PIL import Image

    wide = Image.new("RGB", (30, 10), "black")
    wide.paste((255, 255, 255), (10, 0, 20, 10))
    into = io.BytesIO()
    wide.save(into, "PNG")
    assert decoded(into.getvalue(), ImageInput(width=10, height=10, fit="crop")).min() == 1.0
    assert decoded(into.getvalue(), ImageInput(width=10, height=10, fit="stretch")).min() == 0.0


ROWS = tuple((text(picture("PNG", (8, 6), seed=seed)), float(seed)) for seed in range(3))
SIGNATURE = Signature(
    inputs=(Field(name="photo", type="bytes", required=True),),
    outputs=(Field(name="light", type="number"), Field(name="most", type="number")),
)


def found_in(file: Path, image: ImageInput = PLAIN) -> Any:
    return examine(file, outputs=("light=mean", "most=most"), images={"photo": image})


@pytest.mark.parametrize("rows", [None, 1], ids=["any batch", "one at a time"])
@pytest.mark.parametrize("check", RUNTIME_SUITE, ids=lambda check: check.__name__)
def test_a_graph_of_pictures_passes_the_suite(check: Callable[[RuntimeCase], None], rows: int, tmp_path: Path) -> None:
    file = graph(tmp_path / "g.onnx", rows=rows)
    found = found_in(file)
    assert found.signature.inputs == SIGNATURE.inputs
    check(
        RuntimeCase(
            load=lambda: OnnxRuntime().load(file, found.signature, found.options),
            signature=found.signature,
            rows=[row[:1] for row in ROWS],
            refused=[(None,), ("no base64!",), (text(b"no picture"),), (text(bomb()),), (7,)],
        )
    )


def test_pictures_are_asked_for_in_a_thread_and_give_what_numpy_gives(tmp_path: Path) -> None:
    file = graph(tmp_path / "g.onnx")
    found = found_in(file)
    model = OnnxRuntime().load(file, found.signature, found.options)
    assert model.capabilities.blocking
    ((light, most),) = model.predict([ROWS[0][:1]])
    pixels = decoded(picture("PNG", (8, 6)), PLAIN)
    assert (light, most) == (pytest.approx(float(pixels.mean()), abs=1e-6), float(pixels.max()))
    model.close()


@pytest.mark.parametrize(
    ("image", "whole", "rows", "told_"),
    [
        (ImageInput(width=5, height=4), False, None, "have [3, 4, 5] each"),
        (ImageInput(width=4, height=4, layout="hwc"), False, None, "have [4, 4, 3] each"),
        (PLAIN, True, None, "whole numbers from 0 to 255"),
        (PLAIN, False, 8, "takes 8 pictures at once"),
    ],
)
def test_a_declaration_that_does_not_fit_the_graph_is_refused(
    image: ImageInput, whole: bool, rows: int | None, told_: str, tmp_path: Path
) -> None:
    with pytest.raises(ModelRefused) as raised:
        found_in(graph(tmp_path / "g.onnx", rows=rows, whole=whole), image)
    assert told_ in raised.value.sentence


def test_a_graph_of_pictures_without_a_declaration_says_what_to_write(tmp_path: Path) -> None:
    with pytest.raises(ModelRefused) as raised:
        examine(graph(tmp_path / "g.onnx"), outputs=("light=mean",))
    assert "{pixels: {type: bytes, image: {size: [WIDTH, HEIGHT]}}}" in raised.value.mend


def test_whole_numbers_are_fed_as_they_are(tmp_path: Path) -> None:
    image = ImageInput(width=8, height=6, scale=1)
    file = graph(tmp_path / "g.onnx", (8, 6), whole=True)
    found = found_in(file, image)
    assert found.options["images"] == told({"photo": image})
    model = OnnxRuntime().load(file, found.signature, found.options)
    assert model.predict([ROWS[0][:1]])[0][1] == decoded(picture("PNG", (8, 6)), image).max()
    model.close()
