from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstay.serving.request import BadRequest, read_card_token, read_decision, read_outcome, read_predict


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"", 400, "not JSON"),
        (b"{", 400, "not JSON"),
        (b"\xff", 400, "not JSON"),
        (b'{"key":"\xff"}', 400, "not JSON"),
        (b"[" * 100_000, 400, "nested deeper"),
        (b'{"rows":' + b"[" * 40 + b"]" * 40 + b"}", 400, "nested deeper"),
        (b"[]", 422, "wanted a JSON object, found a list"),
        (b"{}", 422, "exactly one of `key`, `keys` and `rows`, found none"),
        (b'{"key":"a","keys":["b"]}', 422, "found `key` and `keys`"),
        (b'{"kye":"a"}', 422, "unknown field `kye`"),
        (
            b'{"key":1.5}',
            422,
            "`key`: wanted a string, an integer or an object with the key's columns, found a number with a fraction",
        ),
        (b'{"key":null}', 422, "`key`: wanted a string, an integer or an object with the key's columns, found null"),
        (
            b'{"keys":"a"}',
            422,
            "`keys`: wanted a list of strings, integers or objects with the key's columns, found a string",
        ),
        (
            b'{"keys":["a",true]}',
            422,
            "`keys[1]`: wanted a string, an integer or an object with the key's columns, found a boolean",
        ),
        (b'{"keys":[]}', 422, "`keys` is empty"),
        (b'{"rows":[{"a":[1]}]}', 422, "`rows[0]`: wanted an object with plain values, found a list"),
        (b'{"rows":[{}],"inputs":{}}', 422, "`inputs` goes with keys"),
        (json.dumps({"keys": ["a"] * 1001}).encode(), 422, "1001 items, wanted at most 1000"),
    ],
)
def test_a_wrong_body_says_what_was_wanted_and_what_came(body: bytes, status: int, words: str) -> None:
    with pytest.raises(BadRequest) as caught:
        read_predict(body)
    assert caught.value.status == status
    assert words in caught.value.sentence


def test_an_unknown_field_is_met_with_its_close_match() -> None:
    with pytest.raises(BadRequest) as caught:
        read_predict(b'{"kye":"a"}')
    assert caught.value.mend == "did you mean `key`?"


def test_a_missing_field_is_named() -> None:
    with pytest.raises(BadRequest, match="`decision` is missing, wanted a string"):
        read_decision(b'{"receipt":"r"}')
    with pytest.raises(BadRequest, match="`outcome`: wanted a plain value, found a list"):
        read_outcome(b'{"receipt":"r","outcome":[1]}')


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(("key", "keys", "rows", "inputs", "x")), inner),
    max_leaves=10,
)


def refused_or_read(body: bytes) -> int:
    """200 when the body is read, else the status of its refusal; anything else raised fails the test."""
    try:
        read_predict(body)
    except BadRequest as error:
        return error.status
    return 200


@given(json_values)
def test_any_json_is_read_or_refused(value: object) -> None:
    assert refused_or_read(json.dumps(value).encode()) in (200, 400, 422)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    assert refused_or_read(body) in (200, 400, 422)


def test_whole_numbers_are_integers_however_they_are_written() -> None:
    assert read_predict(b'{"key": 7.0}').key == 7
    assert read_predict(b'{"keys": [7.0, "a", 8]}').keys == [7, "a", 8]
    assert read_card_token(b'{"key": "A", "user": "u", "ttl": 60.0}').ttl == 60
    with pytest.raises(BadRequest, match=r"`key`: wanted .*, found a number with a fraction"):
        read_predict(b'{"key": 7.5}')
