"""Logs that nobody takes cost lines, are counted, and stop no process. Real pipes, real full disks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from mainstay.app import log_lines, log_said
from mainstay.app.log_lines import LINE_MOST, WAITING_MOST, LogLines
from mainstay.core.clock import MINUTE, SECOND
from mainstay.core.verdicts import Verdict
from mainstay.serving.meter import Counts, Meter, merged


def fill(fd: int) -> int:
    """Fills a pipe to the last byte; how many there are."""
    os.set_blocking(fd, False)
    size = 0
    with suppress(BlockingIOError):
        while True:
            size += os.write(fd, b".")
    os.set_blocking(fd, True)
    return size


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for one in ends:
        os.close(one)


def read_until(fd: int, end: str) -> str:
    found = b""
    while end.encode() not in found:
        found += os.read(fd, 65_536)
    return found.decode()


def test_a_pipe_that_is_full_takes_no_time_and_what_found_no_room_is_counted_and_said(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    full = fill(writing)
    lines = LogLines(writing, lambda count: f"{count} lost")
    for number in range(WAITING_MOST + 50):
        lines.write(f"line {number}\n")
    # One of them may be on its way.
    assert lines.dropped in (49, 50)
    lost = lines.dropped
    read = read_until(reading, "lost\n")
    while "lost\n" not in read:
        read += read_until(reading, "lost\n")
    told = read[full:].splitlines()
    assert f"{lost} lost" in told
    assert told[0] == "line 0"
    lines.write("heard again\n")
    lines.close()
    assert read_until(reading, "again\n").endswith("heard again\n")
    assert lines.dropped == lost


def test_lines_leave_whole_and_in_order_and_the_rest_at_the_end(pipe: tuple[int, int]) -> None:
    reading, writing = pipe
    lines = LogLines(writing, str)
    print("a", "ü\udc80", file=lines)  # in two parts
    lines.write("b\nc\nhalf")
    lines.write("x" * 3 * LINE_MOST)
    lines.close()
    found = read_until(reading, "\nhalf").removesuffix("\n")
    while len(found) < 10 + LINE_MOST:
        found += os.read(reading, 65_536).decode().removesuffix("\n")
    assert found.split("\n")[:3] == ["a ü\\udc80", "b", "c"]
    assert len(found.split("\n")[3]) == LINE_MOST
    lines.close()


def test_what_the_system_does_not_take_is_counted_and_the_next_lines_are_tried(small_disk: Path) -> None:
    log = small_disk / "log"
    with log.open("ab") as file:
        lines = LogLines(file.fileno(), lambda count: f"{count} lost")
        with (small_disk / "ballast").open("wb") as ballast, suppress(OSError):
            while True:
                ballast.write(b"x" * 65_536)
                ballast.flush()
        for _ in range(10):
            lines.write("y" * LINE_MOST + "\n")
        lines.close()
        assert lines.dropped
        (small_disk / "ballast").unlink()
        lines.write("after\n")
        lines.close()
        lines.close()
    assert log.read_text().endswith(f"after\n{lines.dropped} lost\n")


def test_a_reader_that_is_gone_stops_nobody(pipe: tuple[int, int]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    lines = LogLines(writing, str)
    lines.write("one\ntwo\n")
    lines.close()
    assert lines.dropped == 2
    os.close(writing)


def test_a_process_ends_although_nobody_reads_its_last_lines(pipe: tuple[int, int]) -> None:
    fill(pipe[1])
    code = (
        "import os, sys; from mainstay.app import log_lines; log_lines.install(os.environ, 'api-1'); "
        "print('out'); sys.stderr.write('one\\ntwo\\n'); sys.exit(3)"
    )
    done = subprocess.run([sys.executable, "-c", code], stdout=pipe[1], stderr=pipe[1], check=False, timeout=60)
    assert done.returncode == 3


def test_lines_of_json_stay_json_and_a_stream_that_is_none_stays(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_lines, "WAITING_MOST", 0)
    with os.fdopen(os.dup(pipe[1]), "w") as stream:
        lines = log_lines.lines_of(stream, {"MAINSTAY_LOG_FORMAT": "json"}, "api-1")
        assert isinstance(lines, LogLines)
        lines.write("dropped\n")
        assert lines.dropped == 1
        monkeypatch.undo()
        lines.write("taken\n")
        told = read_until(pipe[0], "}\n").splitlines()
        assert told[0] == "taken"
        assert json.loads(told[1])["event"] == "1 log line dropped: nobody took what api-1 wrote"
        lines.close()

    class Elsewhere:
        def fileno(self) -> int:
            raise OSError

    given: Any = Elsewhere()
    assert log_lines.lines_of(given, {}, "api-1") is given


def test_dropped_lines_are_counted_over_restarts_and_status_says_so_for_a_while(tmp_path: Path) -> None:
    now = 100 * MINUTE
    for total in (3, 5):
        meter = Meter(tmp_path / "api-1.json")
        meter.unheard(total - 2, now)
        meter.unheard(total - 2, now + SECOND)
        meter.save(now)
    counts = merged(tmp_path)
    assert (counts.unheard, counts.unheard_us) == (4, now)
    (found,) = log_said.findings(counts, now + SECOND)
    assert (found.check, found.verdict) == ("logs", Verdict.WARN)
    assert "4 so far, the last 1 s ago" in found.sentence
    assert list(log_said.findings(counts, now + log_said.LATELY_US + SECOND)) == []
    assert list(log_said.findings(Counts(), now)) == []
