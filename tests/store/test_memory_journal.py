from __future__ import annotations

import pytest

from mainstay.store.memory_journal import MemoryJournal
from mainstay.testing.clock import FakeClock
from mainstay.testing.journal_suite import JournalSuite


class TestMemoryJournal(JournalSuite):
    @pytest.fixture
    def journal(self) -> MemoryJournal:
        return MemoryJournal(secret=b"s" * 32, clock=FakeClock())
