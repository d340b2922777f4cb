"""What every `Landing` must do. Run each function of `LANDING_SUITE` with a maker of handles onto one empty store."""

# ruff: noqa: D103 - the name of a check is its sentence

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from mainstay.core.errors import Conflict, NotFound, Refused, SourceAway
from mainstay.core.ports import Landing, Manifest
from mainstay.testing.state_suite import raised

if TYPE_CHECKING:
    import pyarrow as pa

OpenLanding = Callable[[], Landing]
"""Each call: one more handle onto the same store, which is empty at the first."""


def batch_manifest(number: int = 1, dataset: str = "customers", rows: int = 3) -> Manifest:
    """A manifest as the pipeline hands it over: without digest and files."""
    return Manifest(
        dataset=dataset,
        number=number,
        mode="increment",
        began_us=10,
        began_source_us=11,
        landed_us=12,
        rows=rows,
        deletes=1,
        noops=2,
        cursor="2026-11-01",
        digest="",
        files=(),
        source_schema=(("id", "bigint"), ("name", "text")),
    )


def batch_rows(*batches: list[tuple[int, str | None]]) -> pa.RecordBatchReader:
    """A stream of (id, name), one Arrow batch per list."""
    import pyarrow as pa

    types: dict[str, pa.DataType] = {"id": pa.int64(), "name": pa.string()}
    schema = pa.schema(types)
    made = [
        pa.record_batch(
            [pa.array([row[0] for row in rows], pa.int64()), pa.array([row[1] for row in rows], pa.string())],
            schema=schema,
        )
        for rows in batches
    ]
    return pa.RecordBatchReader.from_batches(schema, made)


def rows_of(landing: Landing, dataset: str, number: int) -> list[tuple[Any, ...]]:
    """A landed batch's rows as tuples."""
    table = landing.open(dataset, number).read_all()
    return list(zip(*(column.to_pylist() for column in table.columns), strict=True))


def a_batch_returns_as_it_was_landed(open_landing: OpenLanding) -> None:
    landing = open_landing()
    given = batch_manifest()
    landed = landing.land(given, batch_rows([(1, "a"), (2, None)], [(3, "")]))
    assert landed.digest.startswith("sha256:")
    assert landed.files
    assert msgspec.structs.replace(landed, digest="", files=()) == given, "the rest is as handed over"
    for handle in (landing, open_landing()):
        assert handle.manifest("customers", 1) == landed
        assert rows_of(handle, "customers", 1) == [(1, "a"), (2, None), (3, "")]


def an_empty_batch_is_a_batch(open_landing: OpenLanding) -> None:
    landing = open_landing()
    landing.land(batch_manifest(rows=0), batch_rows())
    table = landing.open("customers", 1).read_all()
    assert (table.num_rows, table.column_names) == (0, ["id", "name"])
    assert landing.numbers("customers") == (1,)


def numbers_ascend_and_are_of_one_dataset(open_landing: OpenLanding) -> None:
    landing = open_landing()
    assert landing.numbers("customers") == ()
    for number in (10, 2, 9):
        landing.land(batch_manifest(number), batch_rows([(number, "x")]))
    landing.land(batch_manifest(1, "tickets"), batch_rows([(1, "t")]))
    assert open_landing().numbers("customers") == (2, 9, 10)
    assert rows_of(landing, "tickets", 1) == [(1, "t")]


def a_number_is_landed_once(open_landing: OpenLanding) -> None:
    landing = open_landing()
    landed = landing.land(batch_manifest(), batch_rows([(1, "a")]))
    raised(Conflict, lambda: open_landing().land(batch_manifest(), batch_rows([(2, "b")])))
    assert landing.manifest("customers", 1) == landed
    assert rows_of(landing, "customers", 1) == [(1, "a")]


def what_was_never_landed_is_not_found(open_landing: OpenLanding) -> None:
    landing = open_landing()
    assert landing.manifest("customers", 1) is None
    raised(NotFound, lambda: landing.open("customers", 1))
    raised(NotFound, lambda: landing.rewrite(batch_manifest(), batch_rows([(1, "a")])))
    assert landing.numbers("customers") == ()


def a_read_that_breaks_off_lands_nothing(open_landing: OpenLanding) -> None:
    import pyarrow as pa

    whole = batch_rows([(1, "a")])

    def breaking() -> Iterator[pa.RecordBatch]:
        yield from whole
        raise SourceAway("the source went away")

    landing = open_landing()
    stream = pa.RecordBatchReader.from_batches(whole.schema, breaking())
    raised(SourceAway, lambda: landing.land(batch_manifest(), stream))
    assert (landing.numbers("customers"), landing.manifest("customers", 1)) == ((), None)
    landing.land(batch_manifest(), batch_rows([(2, "b")]))
    assert rows_of(landing, "customers", 1) == [(2, "b")]


def remove_removes_one_batch(open_landing: OpenLanding) -> None:
    landing = open_landing()
    for number in (1, 2):
        landing.land(batch_manifest(number), batch_rows([(number, "a")]))
    landing.remove("customers", 1)
    landing.remove("customers", 1)
    landing.remove("nothing", 1)
    assert landing.numbers("customers") == (2,)
    raised(NotFound, lambda: landing.open("customers", 1))


def rewrite_replaces_a_batch(open_landing: OpenLanding) -> None:
    landing = open_landing()
    landed = landing.land(batch_manifest(), batch_rows([(1, "a"), (2, "person")]))
    shorter = msgspec.structs.replace(landed, rows=1)
    # Erasure filters the batch that it rewrites.
    rest = [(row[0], row[1]) for row in rows_of(landing, "customers", 1) if row[1] != "person"]
    rewritten = landing.rewrite(shorter, batch_rows(rest))
    assert rewritten.digest != landed.digest
    assert rewritten.rows == 1
    for handle in (landing, open_landing()):
        assert handle.manifest("customers", 1) == rewritten
        assert rows_of(handle, "customers", 1) == [(1, "a")]


def an_open_batch_can_be_read_while_it_is_rewritten(open_landing: OpenLanding) -> None:
    landing = open_landing()
    landed = landing.land(batch_manifest(), batch_rows([(1, "a")], [(2, "b")]))
    reading = landing.open("customers", 1)
    first = reading.read_next_batch()
    landing.rewrite(landed, batch_rows([(3, "c")]))
    assert (first.num_rows, reading.read_all().num_rows) == (1, 1)
    assert rows_of(landing, "customers", 1) == [(3, "c")]


def a_rewrite_that_breaks_off_leaves_the_batch(open_landing: OpenLanding) -> None:
    import pyarrow as pa

    landing = open_landing()
    landed = landing.land(batch_manifest(), batch_rows([(1, "a")]))
    whole = batch_rows([(2, "b")])

    def breaking() -> Iterator[pa.RecordBatch]:
        yield from whole
        raise SourceAway("the source went away")

    stream = pa.RecordBatchReader.from_batches(whole.schema, breaking())
    raised(SourceAway, lambda: landing.rewrite(landed, stream))
    assert landing.manifest("customers", 1) == landed
    assert rows_of(landing, "customers", 1) == [(1, "a")]


def a_name_cannot_lead_out(open_landing: OpenLanding) -> None:
    landing = open_landing()
    for name in ("../customers", "a/b", "..", "", ".hidden", "a\0b"):
        raised(Refused, lambda: landing.land(batch_manifest(1, name), batch_rows([(1, "a")])))  # noqa: B023
        raised(Refused, lambda: landing.manifest(name, 1))  # noqa: B023 - called at once
        raised(Refused, lambda: landing.numbers(name))  # noqa: B023
        raised(Refused, lambda: landing.remove(name, 1))  # noqa: B023


LANDING_SUITE: tuple[Callable[[OpenLanding], None], ...] = (
    a_batch_returns_as_it_was_landed,
    an_empty_batch_is_a_batch,
    numbers_ascend_and_are_of_one_dataset,
    a_number_is_landed_once,
    what_was_never_landed_is_not_found,
    a_read_that_breaks_off_lands_nothing,
    remove_removes_one_batch,
    rewrite_replaces_a_batch,
    an_open_batch_can_be_read_while_it_is_rewritten,
    a_rewrite_that_breaks_off_leaves_the_batch,
    a_name_cannot_lead_out,
)
