"""A model of pictures from the file to an answer: declared, added, used, asked by key."""

from __future__ import annotations

from pathlib import Path

import pytest

from mainstay.app.answers import predict, readers, receipt
from mainstay.app.models import Wish, add_model, shop, use_model
from mainstay.core.errors import ModelRefused
from mainstay.models.images import images_of
from mainstay.serving.reply import Answer
from mainstay.serving.request import BadRequest, PredictRequest
from tests.app.shop import Shop
from tests.models.pictures import bomb, graph, picture, text

DECLARED = "request_inputs: {photo: {type: bytes, required: true, image: {size: [4, 4], mean: [0.5, 0.5, 0.5]}}}"


def add(world: Shop, file: Path) -> int:
    with shop(world.place) as at:
        version, _ = add_model(at, Wish(file=file, outputs=("churn_probability=mean",)), by="anna")
        use_model(at, version.number, by="anna")
    return version.number


def test_a_picture_goes_with_the_key_and_the_version_keeps_how_it_is_decoded(tmp_path: Path) -> None:
    world = Shop(tmp_path)
    world.begin(model=DECLARED)
    number = add(world, graph(tmp_path / "g.onnx"))
    asked = PredictRequest(key="person-0001", inputs={"photo": text(picture("WEBP"))})
    answer = predict(world.place, asked)
    assert isinstance(answer, Answer), answer
    assert -0.5 < answer.output["churn_probability"] < 0.5
    with readers(world.place) as found:
        assert set((receipt(found, answer.receipt or "").inputs or {})["photo"]) == {"digest", "bytes"}
    with pytest.raises(BadRequest, match="60,000 x 60,000"):
        predict(world.place, PredictRequest(key="person-0001", inputs={"photo": text(bomb())}))
    world.apply(model=DECLARED.replace("[4, 4]", "[4, 4], max_pixels: 10"))
    again = predict(world.place, asked)
    assert isinstance(again, Answer)
    assert again.output == answer.output, "a version keeps what it was made with"
    with shop(world.place) as at:
        assert images_of(at.registry.get(number))["photo"].max_pixels == 16_000_000
    assert add(world, tmp_path / "g.onnx") != number
    with pytest.raises(BadRequest, match="at most 10 pixels"):
        predict(world.place, asked)


def test_a_graph_of_pictures_that_the_file_does_not_declare_is_refused(tmp_path: Path) -> None:
    world = Shop(tmp_path)
    world.begin(model="request_inputs: {}")
    with pytest.raises(ModelRefused, match="does not say how to decode them"):
        add(world, graph(tmp_path / "g.onnx"))
