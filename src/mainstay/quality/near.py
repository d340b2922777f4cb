"""Which known value a mistyped one may mean: a score and its evidence, for a person to confirm. Nothing is decided.

Two texts are compared without case, accents and punctuation, as they stand and with their words in order of the
alphabet; the score is the better of Ratcliff and Obershelp's two (difflib). Differing numbers are no typing error:
`zone 1` and `zone 2` are kept apart however alike they look.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Sequence

import msgspec

LEAST = 0.6
"""Below this score nothing is proposed."""
SAME, REORDERED, BEGINS, NUMBERS = 1.0, 0.99, 0.75, 0.7
CLOSE = 0.05
"""A second value within this of the first makes it doubtful."""


class Near(msgspec.Struct, frozen=True, kw_only=True):
    """A known value, how alike it is (0 to 1), and why."""

    value: str
    score: float
    evidence: str


class _Form(msgspec.Struct, frozen=True):
    value: str
    plain: str
    ordered: str
    numbers: tuple[str, ...]


class Nearest:
    """The known values, made ready to be compared."""

    def __init__(self, known: Sequence[str]) -> None:
        self._known = [form for form in map(_form, dict.fromkeys(known)) if form.plain]

    def __call__(self, text: str, *, least: float = LEAST, take: int = 3) -> tuple[Near, ...]:
        """At most `take` known values, the best first; of equal ones the first in order."""
        asked = _form(text)
        if not asked.plain:
            return ()
        plain, ordered = (difflib.SequenceMatcher(None, "", words, autojunk=False) for words in _words(asked))
        found: list[Near] = []
        for form in self._known:
            floor = max(least, found[take - 1].score) if len(found) >= take else least
            near = _compared(asked, form, plain, ordered, floor)
            if near is not None:
                found.append(near)
                found.sort(key=lambda one: (-one.score, one.value))
                del found[take:]
        return tuple(found)


def clear(nears: Sequence[Near]) -> bool:
    """Whether the best is clearly better than the next."""
    return bool(nears) and (len(nears) == 1 or nears[0].score - nears[1].score > CLOSE)


def _form(value: str) -> _Form:
    folded = unicodedata.normalize("NFKD", value.casefold())
    words = re.findall(r"\w+", "".join(one for one in folded if not unicodedata.combining(one)))
    numbers = re.findall(r"\d+", " ".join(words))
    return _Form(value, " ".join(words), " ".join(sorted(words)), tuple(sorted(numbers)))


def _words(form: _Form) -> tuple[str, str]:
    return form.plain, form.ordered


def _compared(
    asked: _Form,
    form: _Form,
    plain: difflib.SequenceMatcher[str],
    ordered: difflib.SequenceMatcher[str],
    floor: float,
) -> Near | None:
    if form.plain == asked.plain:
        return Near(value=form.value, score=SAME, evidence="equal but for case, accents and punctuation")
    if form.ordered == asked.ordered:
        return Near(value=form.value, score=REORDERED, evidence="the same words in another order")
    score, evidence = 0.0, ""
    for matcher, other, how in ((plain, form.plain, ""), (ordered, form.ordered, ", the words put in order")):
        matcher.set_seq1(other)
        # The bounds cost little, and most pairs are far apart.
        if matcher.real_quick_ratio() < floor or matcher.quick_ratio() < floor:
            continue
        ratio = matcher.ratio()
        if ratio > score:
            letters = sum(block.size for block in matcher.get_matching_blocks())
            score, evidence = ratio, f"{letters} of {max(len(asked.plain), len(form.plain))} letters in order{how}"
    if len(asked.plain) >= 3 and form.plain.startswith(asked.plain) and score < BEGINS:
        score, evidence = BEGINS, "it begins so"
    if form.numbers != asked.numbers and score > NUMBERS:
        score, evidence = NUMBERS, f"{evidence}, but its numbers differ"
    return Near(value=form.value, score=round(score, 3), evidence=evidence) if score >= floor else None
