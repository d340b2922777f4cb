"""Whole documents are told from cut ones, at every byte."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstay.models.runtimes.ubjson import whole
from tests.models.trees import xgboost_file


def test_what_xgboost_writes_is_whole_and_no_beginning_of_it_is(tmp_path: Path) -> None:
    data = xgboost_file(tmp_path / "a.ubj", "binary", rounds=2, objective="binary:logistic").read_bytes()
    assert whole(data)
    assert not any(whole(data[:size]) for size in range(len(data)))
    assert not whole(data + b"x")


@pytest.mark.parametrize(
    ("data", "fine"),
    [
        (b"{}", True),
        (b"{i\x01aZ}", True),
        (b"{i\x01a[ZTF]}", True),
        (b"{i\x01a[$d#i\x02" + bytes(8) + b"}", True),
        (b"{i\x01a[$d#i\x03" + bytes(8) + b"}", False),
        (b"{i\x01a[#i\x02SU\x02hiCx}", True),
        (b"{i\x01a{$i#i\x01i\x01b\x05}", True),
        (b"{i\x01a[$d]}", False),
        (b"{i\x01aL" + b"\xff" * 8 + b"}", True),
        (b"{L" + b"\xff" * 8 + b"a}", False),
        (b"[]", False),
        (b"", False),
        (b"{q}", False),
    ],
)
def test_by_the_specification(data: bytes, fine: bool) -> None:
    assert whole(data) is fine


@given(st.binary(max_size=60))
def test_any_bytes_have_an_answer(data: bytes) -> None:
    assert whole(b"{" + data) in (True, False)
