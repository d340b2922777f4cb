"""`model.http`: what must fit together, and where its secrets may stand."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.spec.sample import ENV, SAMPLE, load, problems

OLD = """\
  constant: {churn_probability: 0.26, risk: low}
  outputs: {churn_probability: {unit: probability, min: 0, max: 1}}
"""
GOOD: dict[str, Any] = {
    "url": "https://scores.example.com/v3/score",
    "protocol": "json",
    "inputs": ["tenure", "region"],
    "request": {"customers": "$rows"},
    "headers": {"Authorization": "Bearer ${SCORES_TOKEN}"},
}
OUTPUTS: dict[str, Any] = {"churn_probability": {"type": "number"}, "risk": {"type": "string"}}
TOKEN = {**ENV, "SCORES_TOKEN": "s3cret"}


def text_of(declared: dict[str, Any] | None = None, **changes: Any) -> str:
    http = {name: value for name, value in {**GOOD, **changes}.items() if value is not None}
    given = OUTPUTS if declared is None else declared
    assert OLD in SAMPLE
    return SAMPLE.replace(OLD, f"  http: {json.dumps(http)}\n  outputs: {json.dumps(given)}\n")


def test_it_is_kept_as_it_is_written_placeholders_and_all() -> None:
    inline = load(text_of(), env=TOKEN).model.inline
    assert inline is not None
    assert (inline.kind, [field.name for field in inline.outputs]) == ("http", ["churn_probability", "risk"])
    assert inline.options == {**GOOD, "read_timeout": 500_000}


@pytest.mark.parametrize(
    ("changes", "path", "told"),
    [
        ({"url": "scores.example.com"}, "model.http.url", "an http or https address"),
        ({"url": "https://anna@scores.example.com/"}, "model.http.url", "without a user or password"),
        ({"url": "https://${HOST}/"}, "model.http.url", "a plain value"),
        ({"headers": {"Authorization": "Bearer abc"}}, "model.http.headers.Authorization", "a placeholder"),
        ({"headers": {"X-Api-Key": "abc"}}, "model.http.headers.X-Api-Key", "a placeholder"),
        ({"headers": {"a b": "c"}}, "model.http.headers.a b", "the name of a header"),
        ({"headers": {"Host": "c"}}, "model.http.headers.Host", "of your own"),
        ({"headers": {"Authorization": "${NOBODY}"}}, "model.http.headers.Authorization", "the value of ${NOBODY}"),
        ({"protocol": "oip", "request": None}, "model.http.model", "the model's name"),
        ({"protocol": "mlflow"}, "model.http.request", "`protocol: json`"),
        ({"inputs": ["tenure", "tenure"]}, "model.http.inputs[1]", "an input once"),
        ({"request": {"a": "$tenur"}}, "model.http.request", "an input of `http.inputs`"),
        ({"row": {"a": "$rows"}}, "model.http.row", "an input of `http.inputs`"),
        ({"outputs": {"rsik": "a"}}, "model.http.outputs.rsik", "an output of the model"),
        ({"protocol": "soap"}, "model.http.protocol", "oip"),
        ({"retries": 2}, "model.http.retries", "1"),
        ({"timeout": "1s"}, "model.http.timeout", "known"),
    ],
)
def test_a_fault_is_told_with_its_place(changes: dict[str, Any], path: str, told: str) -> None:
    found = {one.path: one for one in problems(text_of(**changes), env=TOKEN)}
    assert path in found, found
    assert told in f"{found[path].wanted} {found[path].came} {found[path].mend}"
    assert "Bearer abc" not in str(found[path])


def test_a_picture_is_not_for_a_model_served_elsewhere() -> None:
    text = text_of(inputs=["photo"], request=None, row={"p": "$photo"})
    old = next(line for line in text.splitlines() if line.strip().startswith("request_inputs:"))
    text = text.replace(old, "  request_inputs: {photo: {type: bytes, image: {formats: [png]}}}")
    found = {one.path: one for one in problems(text, env=TOKEN)}
    assert "no picture" in found["model.http.inputs[0]"].wanted


def test_outputs_are_declared_with_their_types() -> None:
    assert "model.outputs" in {one.path for one in problems(text_of({}), env=TOKEN)}
    assert "model.outputs.risk" in {one.path for one in problems(text_of({**OUTPUTS, "risk": {}}), env=TOKEN)}


def test_a_file_has_one_model() -> None:
    text = text_of().replace("  http:", "  constant: {churn_probability: 1, risk: low}\n  http:")
    assert [(one.path, one.came) for one in problems(text, env=TOKEN)] == [("model.http", "a constant and a http")]
