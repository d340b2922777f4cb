"""Typed access to one space of state: bytes in, frozen records out, unknown fields kept."""

from __future__ import annotations

from typing import Generic, TypeVar

import msgspec

from mainstay.core.ports import State, StateReader, Write
from mainstay.core.records import encode

R = TypeVar("R", bound=msgspec.Struct)


class ShelfReader(Generic[R]):
    """The records of one space, decoded."""

    def __init__(self, state: StateReader, space: str, record: type[R]) -> None:
        self._state = state
        self.space = space
        self._decode = msgspec.json.Decoder(record).decode

    def get(self, name: str) -> R | None:
        """The record called `name`; None when there is none."""
        found = self._state.get(self.space, name)
        return None if found is None else self._decode(found.body)

    def all(self, prefix: str = "") -> dict[str, R]:
        """Name -> record, ordered by name."""
        return {found.name: self._decode(found.body) for found in self._state.scan(self.space, prefix)}


class Shelf(ShelfReader[R]):
    """The same, with writes to put into a commit."""

    def __init__(self, state: State, space: str, record: type[R]) -> None:
        super().__init__(state, space, record)
        self._writer = state

    def write(self, name: str, record: R) -> Write:
        """A write that succeeds only if nobody else wrote since it was made."""
        found = self._writer.get(self.space, name)
        if found is None:
            return Write(space=self.space, name=name, body=encode(record), expect=0)
        return Write(space=self.space, name=name, body=encode(record, found.body), expect=found.version)

    def remove(self, name: str) -> Write:
        """A write that deletes the record."""
        return Write(space=self.space, name=name, body=None)

    def put(self, name: str, record: R, *, token: int | None = None) -> None:
        """Writes one record by itself."""
        self._writer.commit([self.write(name, record)], token=token)
