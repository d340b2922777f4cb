from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstay.core.errors import NotFound
from mainstay.store.receipt_ids import Place, ReceiptIds

places = st.builds(
    Place,
    st.integers(min_value=0, max_value=2**16 - 1),
    st.integers(min_value=0, max_value=2**32 - 1),
    st.integers(min_value=0, max_value=2**32 - 1),
)


@given(places)
def test_an_id_gives_back_its_place(place: Place) -> None:
    ids = ReceiptIds(b"k" * 32)
    assert ids.read(ids.make(*place)) == place


@given(places, places)
def test_ids_sort_by_place(one: Place, other: Place) -> None:
    ids = ReceiptIds(b"k" * 32)
    if one != other:
        assert (one < other) == (ids.make(*one) < ids.make(*other))


@given(places)
def test_an_id_of_another_installation_is_not_ours(place: Place) -> None:
    with pytest.raises(NotFound):
        ReceiptIds(b"k" * 32).read(ReceiptIds(b"l" * 32).make(*place))


@given(st.text("r0v1wzRß-", max_size=34))
def test_a_made_up_id_is_not_ours(text: str) -> None:
    with pytest.raises(NotFound):
        ReceiptIds(b"k" * 32).read(text)


@given(places, st.integers(min_value=0, max_value=32), st.sampled_from("0123456789abcdefghijklmnopqrstuvwxyzA-"))
def test_a_changed_id_is_not_ours(place: Place, at: int, letter: str) -> None:
    ids = ReceiptIds(b"k" * 32)
    given_out = ids.make(*place)
    changed = given_out[:at] + letter + given_out[at + 1 :]
    if changed != given_out:
        with pytest.raises(NotFound):
            ids.read(changed)
