"""What `new` cannot know: asked of a person, or taken from a flag, or guessed where that was agreed to."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from mainstay.app.new.tables import Guess
from mainstay.core.errors import Refused


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """One question, with the option that answers it."""

    what: str
    text: str
    flag: str
    guess: str = ""
    """What is taken with `--yes`; empty: then the flag is needed."""
    evidence: str = ""
    choices: tuple[str, ...] = ()
    optional: bool = False
    """Whether no answer is one."""


Ask = Callable[[Question], str]
"""A person's answer; the guess where they just press Enter."""


class Asker:
    """Answers questions: by what was said, else by a person, else (with `--yes`) by the guess, which it keeps.

    Args:
        said: what -> answer, from the options.
        person: How a person is asked; None: nobody can be.
        yes: Whether guesses are agreed to.
    """

    def __init__(self, said: Mapping[str, str], *, person: Ask | None, yes: bool) -> None:
        self._said = said
        self._person = person
        self._yes = yes
        self.guesses: list[Guess] = []

    def said(self, what: str) -> str:
        """What an option said; empty when it did not."""
        return self._said.get(what, "")

    def __call__(self, question: Question) -> str:
        """The answer. Raises Refused for one that must be given and was not."""
        if question.what in self._said:
            return self._said[question.what]
        if self._yes or self._person is None:
            if question.optional and not question.guess:
                return ""
            if not question.guess or not self._yes:
                raise self._needed(question)
            self.keep(Guess(what=question.what, taken=question.guess, evidence=question.evidence, flag=question.flag))
            return question.guess
        answer = self._person(question)
        if not answer and not question.optional:
            raise self._needed(question)
        return answer

    def keep(self, guess: Guess) -> None:
        """Adds a guess to those that are shown and written."""
        self.guesses.append(guess)

    def _needed(self, question: Question) -> Refused:
        choices = ""
        if question.choices:
            shown = question.choices[:12]
            choices = ": one of " + ", ".join(shown) + (" ..." if len(question.choices) > len(shown) else "")
        mend = f"{question.flag} ...{choices}"
        if question.guess and not self._yes:
            mend += f"; or --yes, which takes {question.guess} ({question.evidence})"
        return Refused(question.text, mend=mend)
