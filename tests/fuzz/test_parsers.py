"""Whatever comes over a wire is taken or refused: no parser fails otherwise, nor allocates what it was only told."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from mainstay.serving.request import BadRequest
from mainstay.serving.tensors import from_bytes
from tests.fuzz import targets
from tests.laws.reading import ROOT

DEEP = 100_000
WORDS = ["inputs", "outputs", "name", "shape", "datatype", "data", "parameters", "binary_data_size", "id", "key"]
WORDS += ["keys", "rows", "columns", "instances", "dataframe_split", "dataframe_records", "tenure", "receipt"]
WORDS += ["decision", "outcome", "classification", "binary_data", "BYTES", "FP64", "INT8", "BOOL", "FP16", "NaN"]
ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=6),
    st.sampled_from([*WORDS, "\ud800", 10**400, -1, 2**63, 1e308]),
)
JSON = st.recursive(
    ODD,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.sampled_from(WORDS), inner, max_size=5)),
    max_leaves=20,
)
TENSOR = st.fixed_dictionaries(
    {"name": ODD, "shape": JSON, "datatype": JSON}, optional={"data": JSON, "parameters": JSON}
)
TENSORS = st.fixed_dictionaries(
    {"inputs": st.lists(TENSOR, max_size=3)}, optional={"outputs": JSON, "id": JSON, "parameters": JSON}
)
ROUNDS = [
    b"[" * DEEP,
    b"[" * DEEP + b"]" * DEEP,
    b'{"a":' * DEEP,
    b'{"inputs":' + b"[" * DEEP + b"NaN",
]


def text_of(value: object) -> bytes:
    return json.dumps(value).encode()


@pytest.mark.parametrize("name", targets.TARGETS)
def test_what_a_fuzzer_begins_with_fails_nowhere(name: str) -> None:
    for seed in targets.seeds(name):
        targets.TARGETS[name](seed)


@pytest.mark.parametrize("name", targets.TARGETS)
@given(data=st.binary(max_size=200), place=st.integers(0, 400), cut=st.integers(0, 8), which=st.integers(0, 3))
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_bytes_that_were_damaged_are_taken_or_refused(name: str, data: bytes, place: int, cut: int, which: int) -> None:
    found = targets.seeds(name)
    seed = found[which % len(found)]
    at = place % (len(seed) + 1)
    targets.TARGETS[name](seed[:at] + data + seed[at + cut :])
    targets.TARGETS[name](data)


@given(value=st.one_of(TENSORS, JSON))
@example(value={"inputs": [{"name": "key", "shape": [1], "datatype": []}]})
@example(value={"inputs": [{"name": "key", "shape": [1], "datatype": "BYTES", "data": ["\ud800"]}]})
@example(value={"inputs": [{"name": "tenure", "shape": [1], "datatype": "FP64", "data": [10**400]}]})
@settings(max_examples=300)
def test_json_of_any_shape_is_taken_or_refused(value: object) -> None:
    body = text_of(value)
    targets.oip(b"\n\n" + body)
    targets.oip(b"g\n\n" + gzip.compress(body, 1))
    targets.oip(b"\n%d\n" % len(body) + body)
    targets.v1(body)
    targets.mlflow(b"application/json\n" + body)


@pytest.mark.parametrize("header", [b"9" * 5_000, b"-1", b"0x10", b"1e3", b" 7", b"\xb2", b"", b"0", b"00"])
def test_a_length_that_is_none_is_refused(header: bytes) -> None:
    targets.oip(b"\n" + header + b"\n{}")


@pytest.mark.parametrize("name", ["oip", "v1", "mlflow"])
@pytest.mark.parametrize(
    "deep", [b"[" * DEEP, b"[" * DEEP + b"]" * DEEP, b'{"a":' * DEEP, b'{"inputs":' + b"[" * DEEP + b"NaN"]
)
def test_json_of_a_hundred_thousand_brackets_is_refused(name: str, deep: bytes) -> None:
    targets.TARGETS[name]({"oip": b"\n\n", "v1": b"", "mlflow": b"application/json\n"}[name] + deep)


@pytest.mark.parametrize("datatype", ["FP64", "BYTES", "BOOL"])
@pytest.mark.parametrize("shape", [[1_000_000], [2**40], [1000, 1000, 1000], [0, 2**62], [2**62, 0]])
def test_what_a_shape_says_is_not_allocated_before_its_bytes_are_there(datatype: str, shape: list[int]) -> None:
    tracemalloc.start()
    try:
        if 0 in shape and shape[0] == 0:
            assert from_bytes("x", datatype, shape, b"", "x").data in ([], ())
        else:
            with pytest.raises(BadRequest):
                from_bytes("x", datatype, shape, b"12345", "x")
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 1_000_000


@pytest.mark.soak
@pytest.mark.parametrize("name", targets.TARGETS)
def test_a_coverage_guided_fuzzer_finds_nothing(name: str, tmp_path: Path) -> None:
    """Five minutes for each; what it finds is printed, and is to become an `@example` above."""
    pytest.importorskip("atheris", reason="make soak installs it")
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for place, seed in enumerate(targets.seeds(name)):
        (corpus / str(place)).write_bytes(seed)
    run = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.guided", name, str(corpus), "-max_total_time=300", "-rss_limit_mb=2048",
         "-max_len=8192", f"-artifact_prefix={tmp_path}/"],
        cwd=ROOT, capture_output=True, check=False, text=True, errors="replace",
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-4_000:]
