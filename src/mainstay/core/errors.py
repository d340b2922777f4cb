"""What can go wrong, and whether to try again.

MainstayError                what a person sees: a sentence, where, and what to do
├── FileError                mainstay.yaml (or a file it names) is wrong; carries every Problem
├── Refused                  a command that would break a promise; nothing was changed
├── NotFound                 the named thing does not exist
├── LeaseOwned               another process owns the integration
├── SourceError
│   ├── SourceAway           transient: the system did not answer; retried with back-off
│   └── SourceRefused        terminal: the system answered no; a person must act
├── StoreError
│   ├── Conflict             compare-and-set lost: somebody else wrote first
│   ├── Fenced               our lease was taken over; stop writing
│   ├── StoreTooNew          written by a later Mainstay
│   ├── StoreOld             written by an earlier Mainstay
│   ├── Corrupt              bytes do not match their digest or CRC
│   ├── StoreFull            no space (or no permission) to write
│   ├── StoreBusy            transient: another process holds the store too long
│   └── StoreAway            transient: a store on another machine did not answer
└── ModelError
    ├── ModelRefused         terminal: this artifact or input can never work
    ├── ModelAway            transient: the process died and is being restarted
    └── ModelTimeout         transient: no answer before the deadline
"""

from __future__ import annotations

from dataclasses import dataclass


class MainstayError(Exception):
    """A failure told to a person.

    Args:
        sentence: What was wanted and what came instead.
        mend: What to do or type next. Empty when nothing can be done.
        where: The file, line, table or address concerned.
    """

    exit_code = 1
    transient = False

    def __init__(self, sentence: str, *, mend: str = "", where: str = "") -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.mend = mend
        self.where = where

    def __str__(self) -> str:
        text = f"{self.where}: {self.sentence}" if self.where else self.sentence
        return f"{text}\n  → {self.mend}" if self.mend else text


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault of a file: where it stands, what was wanted, what came, what to type.

    `line` and `column` count from 1; 0 means the whole file.
    """

    file: str
    line: int
    column: int
    path: str
    wanted: str
    came: str
    mend: str = ""

    def __str__(self) -> str:
        text = f"{self.file}:{self.line}:{self.column}: {self.path}: wanted {self.wanted}, found {self.came}"
        return f"{text}\n  → {self.mend}" if self.mend else text


class FileError(MainstayError):
    """The user's file is wrong. `problems` holds every fault found, in file order."""

    exit_code = 2

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        self.problems = problems
        count = len(problems)
        super().__init__(f"{count} problem{'s' if count != 1 else ''} in the file\n" + "\n".join(map(str, problems)))


class Refused(MainstayError):
    """Doing this would break a promise, so nothing was changed."""

    exit_code = 3


class NotFound(MainstayError):
    """The thing named does not exist here."""

    exit_code = 4


class LeaseOwned(MainstayError):
    """Another process owns the integration's lease. `owner` says which."""

    exit_code = 5
    transient = True

    def __init__(self, owner: str, *, mend: str = "") -> None:
        super().__init__(f"the integration is owned by {owner}", mend=mend)
        self.owner = owner


class SourceError(MainstayError):
    """A source did not give what was asked."""


class SourceAway(SourceError):
    """The source could not be reached or gave up on us; trying later may work."""

    transient = True


class SourceRefused(SourceError):
    """The source said no (permission, missing table, wrong type); trying again will not help."""


class StoreError(MainstayError):
    """One of our own stores could not do what was asked."""


class Conflict(StoreError):
    """A compare-and-set lost against another writer. Read again, then decide."""

    transient = True


class Fenced(StoreError):
    """A store has seen a higher lease token than ours: we no longer own the integration."""


class StoreTooNew(StoreError):
    """The store's schema number is higher than this version of Mainstay knows."""


class StoreOld(StoreError):
    """The store's schema number is lower than this version's; `mainstay upgrade` raises it."""


class Corrupt(StoreError):
    """Stored bytes do not match the digest or CRC written beside them."""


class StoreFull(StoreError):
    """The disk is full, read-only or takes nothing; nothing was written."""

    transient = True


class StoreBusy(StoreError):
    """Another process held the store for longer than we wait; nothing was written."""

    transient = True


class StoreAway(StoreError):
    """A store on another machine did not answer. A commit that was under way may have been made: read again."""

    transient = True


class ModelError(MainstayError):
    """A model did not answer."""


class ModelRefused(ModelError):
    """The artifact, signature or input can never work as it is."""


class ModelAway(ModelError):
    """The model's process is not there; it is being restarted."""

    transient = True


class ModelTimeout(ModelError):
    """The model did not answer before its deadline."""

    transient = True
