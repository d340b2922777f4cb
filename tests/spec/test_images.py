"""A request-time input that is a picture."""

from __future__ import annotations

import pytest

from mainstay.core.nouns import ImageInput
from tests.spec.sample import SAMPLE, load, problems

OLD = "{discount: {type: number, required: true}}"


def text_of(image: str, kind: str = "bytes") -> str:
    assert OLD in SAMPLE
    return SAMPLE.replace(OLD, f"{{photo: {{type: {kind}, image: {image}}}}}")


def test_it_is_kept_beside_the_input() -> None:
    model = load(text_of("{size: [320, 240], mode: L, layout: hwc, fit: crop, std: [0.5], formats: [png]}")).model
    assert [(field.name, field.type) for field in model.request_inputs] == [("photo", "bytes")]
    wanted = ImageInput(width=320, height=240, mode="L", layout="hwc", fit="crop", std=(0.5,), formats=("png",))
    assert model.images == {"photo": wanted}
    assert load().model.images == {}


@pytest.mark.parametrize(
    ("text", "path", "told"),
    [
        (text_of("{}"), "size", "the key `size`"),
        (text_of("{size: [224]}"), "size", "1"),
        (text_of("{size: [224, 0]}"), "size[1]", "1"),
        (text_of("{size: [224, 224], mean: [0.5]}"), "mean", "3 numbers"),
        (text_of("{size: [224, 224], std: [0.5, 0, 1]}"), "std", "other than 0"),
        (text_of("{size: [224, 224], formats: [gif]}"), "formats[0]", "png"),
        (text_of("{size: [224, 224], max_pixels: 1000000000}"), "max_pixels", "89000000"),
    ],
)
def test_a_fault_is_told_with_its_place(text: str, path: str, told: str) -> None:
    found = {one.path: one for one in problems(text)}
    place = f"model.request_inputs.photo.image.{path}"
    assert place in found, found
    assert told in f"{found[place].wanted} {found[place].came} {found[place].mend}"


def test_a_picture_is_of_type_bytes() -> None:
    found = {one.path: one.wanted for one in problems(text_of("{size: [2, 2]}", "string"))}
    assert found == {"model.request_inputs.photo.type": "`bytes`, for a picture"}
