"""`name=method[class]:unit`."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstay.core.errors import ModelRefused
from mainstay.models.outputs import Output, parse_output, parse_outputs

NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,10}", fullmatch=True)
TEXTS = st.text(
    st.characters(exclude_characters="[]\n\r", exclude_categories=("Cc", "Zs", "Zl", "Zp", "Cs")), min_size=1
)


@given(name=NAMES, source=NAMES, part=st.none() | TEXTS, unit=st.just("") | TEXTS)
def test_what_is_written_is_read_again(name: str, source: str, part: str | None, unit: str) -> None:
    output = Output(name=name, source=source, part=part, unit=unit)
    assert parse_output(str(output)) == output


@pytest.mark.parametrize(
    "text", ["", "churn", "=predict", "churn=", "churn=predict_proba[Yes", "churn=a=b", "1x=predict"]
)
def test_what_is_not_of_the_form_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ModelRefused, match=r"--output churn_probability=predict_proba\[Yes\]:probability"):
        parse_output(text)


def test_names_differ() -> None:
    with pytest.raises(ModelRefused, match="two outputs are called a"):
        parse_outputs(("a=predict", "a=predict_proba[1]"))
