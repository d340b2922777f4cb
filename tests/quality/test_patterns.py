"""Patterns of one fixed shape are asked as GLOB: the same texts pass, whatever they hold."""

from __future__ import annotations

import string

import duckdb
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mainstay.core.nouns import Check, Column, Dataset
from mainstay.quality.checks import row_checks
from mainstay.quality.patterns import glob_of

PUNCTUATION = string.punctuation + " "
LETTERS = string.ascii_letters + string.digits
NEAR = "C0129azAZ_-!*?[]\\^. \n\0é\u0660\U0001f600"
"""Characters that GLOB, RE2 or a careless byte comparison may take for others."""


def ranges(pair: tuple[str, str]) -> str:
    return "-".join(sorted(pair))


MEMBERS = st.one_of(
    st.sampled_from(LETTERS + " !\"#$%&'()*+,./:;<=>?@_`{|}~"),
    st.tuples(st.sampled_from(LETTERS), st.sampled_from(LETTERS)).map(ranges),
    st.sampled_from(["!-/", "*-?", "Z-a", " -~"]),
)
CLASSES = st.builds(
    lambda members, dash: f"[{''.join(members)}{dash}]",
    st.lists(MEMBERS, min_size=1, max_size=3),
    st.sampled_from(["", "-"]),
)
ITEMS = st.one_of(
    st.sampled_from(LETTERS + "_-/:@,;=#%&~<>!\"'` "),
    st.sampled_from(string.punctuation.replace("_", "")).map("\\{}".format),
    st.sampled_from([r"\d", r"\w", ".", "é"]),
    CLASSES,
)
REGEXES = st.builds(
    lambda begin, parts, end: begin + "".join(parts) + end,
    st.sampled_from(["", "^"]),
    st.lists(
        st.builds(str.__add__, ITEMS, st.sampled_from(["", "{1}", "{2}", "{3}", "?", "+"])), min_size=1, max_size=5
    ),
    st.sampled_from(["", "$"]),
)
TEXTS = st.one_of(st.text(NEAR, max_size=8), st.text(max_size=8), st.text(PUNCTUATION + LETTERS, max_size=8))


def full_matches(regex: str, texts: list[str | None]) -> list[bool | None]:
    found = duckdb.execute("SELECT regexp_full_match(t, $1) FROM (SELECT unnest($2::VARCHAR[]) AS t)", [regex, texts])
    return [row[0] for row in found.fetchall()]


def failing(regex: str, texts: list[str | None]) -> list[bool | None]:
    check = Check(name="p", kind="pattern", column="t", args={"regex": regex})
    column = Column(name="t", type="string", source_name="t")
    (ready,) = row_checks(Dataset(name="d", source="s", table="d", key="t", columns=(column,), checks=(check,)))
    found = duckdb.execute(f"SELECT {ready.failed_sql} FROM (SELECT unnest($1::VARCHAR[]) AS t)", [texts])
    return [row[0] for row in found.fetchall()]


@given(REGEXES, st.lists(TEXTS, max_size=5), st.data())
@example("C[0-9]{2}", ["C12", "C12\n", "\nC12", "C1é", "C1", "C123", "c12", "C1\0"], None)
@example(r"\*\?\[\\", ["*?[\\", "abcd"], None)
@example("[a-c-]{2}", ["a-", "--", "b,"], None)
@example("[!a-z]", ["!", "a", "0"], None)
@settings(max_examples=150, deadline=None)
def test_a_pattern_fails_exactly_what_its_regular_expression_does(
    regex: str, texts: list[str], data: st.DataObject | None
) -> None:
    if data is not None:  # texts that pass, and those one character away
        matching = data.draw(st.lists(st.from_regex(f"(?a:{regex})", fullmatch=True), max_size=3))
        texts = [*texts, *matching, *(f"{one}\n" for one in matching), *(one[:-1] + "é" for one in matching)]
        texts += [one.swapcase() for one in matching]
    asked = [*texts, None, ""]
    wanted = [None if passes is None else not passes for passes in full_matches(regex, asked)]
    assert failing(regex, asked) == wanted


@pytest.mark.parametrize(
    ("regex", "glob"),
    [
        ("C[0-9]{8}", "C" + "[0-9]" * 8),
        (r"\d{4}-\d\d", "[0-9][0-9][0-9][0-9]-[0-9][0-9]"),
        ("^[A-Z]{2}$", "[A-Z][A-Z]"),
        (r"a\*b", r"a\*b"),
    ],
)
def test_a_fixed_shape_is_a_glob(regex: str, glob: str) -> None:
    assert glob_of(regex) == glob


@pytest.mark.parametrize(
    "regex",
    [
        "", "^$", "a+", "a|b", "(a)", "(?i)a", "a.c", "a{2,3}", "a{0}", "[^a]", "[[:digit:]]", r"[\d]", r"\D", r"\bx",
        "é", "[à-é]", "a$b", "a{2}{3}", "[]a]", r"[a\]]", "a{33}", r"\w{10}", "[0-9a-f]{32}", "\t",
    ],
)  # fmt: skip
def test_whatever_says_more_or_takes_longer_stays_a_regular_expression(regex: str) -> None:
    assert glob_of(regex) is None
