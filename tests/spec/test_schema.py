from __future__ import annotations

import copy
from typing import Any

import jsonschema
import pytest
from ruamel.yaml import YAML

from mainstay import spec
from tests.spec.sample import SAMPLE


def _sample() -> Any:
    text = SAMPLE.replace("2026-11-01", '"2026-11-01"').replace("2001-01-01", '"2001-01-01"')
    tree = YAML(typ="safe", pure=True).load(text)
    # JSON has no keys but texts.
    words = tree["datasets"]["customers"]["columns"]["active"]["clean"][0]
    words["boolean"] = {str(key).lower(): value for key, value in words["boolean"].items()}
    return tree


def _validator() -> jsonschema.Draft202012Validator:
    jsonschema.Draft202012Validator.check_schema(spec.schema())
    return jsonschema.Draft202012Validator(spec.schema())


def test_the_sample_is_valid() -> None:
    assert list(_validator().iter_errors(_sample())) == []


@pytest.mark.parametrize(
    "path",
    [(), ("purpose",), ("sources", "crm", "guard"), ("datasets", "customers"), ("model",), ("answer",), ("settings",)],
)
def test_an_unknown_key_is_not(path: tuple[str, ...]) -> None:
    tree = copy.deepcopy(_sample())
    node = tree
    for part in path:
        node = node[part]
    node["unknown"] = 1
    assert list(_validator().iter_errors(tree))


def test_a_column_name_that_sql_cannot_say_is_not_valid() -> None:
    tree = _sample()
    tree["datasets"]["plans"]["columns"]["two words"] = {"type": "string"}
    assert list(_validator().iter_errors(tree))
