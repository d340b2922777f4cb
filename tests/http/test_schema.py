"""A tool that makes requests out of the OpenAPI document finds nothing that differs from it.

It is run on a server with every kind of declared input: what the document allows must be taken, what it does not
must be refused, and every answer must be as described.
"""

from __future__ import annotations

import math
import os
import random
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from mainstay.core.nouns import Field, Limits, ModelConfig, Signature
from mainstay.core.ports import Row, RuntimeCapabilities
from tests.http.serving import Served, serving
from tests.laws.reading import ROOT
from tests.serving.toy import Toy

HOOKS = Path(__file__).parent / "schema_hooks.py"
SIGNATURE = Signature(
    inputs=(
        Field(name="tenure", type="integer", minimum=0, maximum=120),
        Field(name="charges", type="number", required=True),
        Field(name="contract", type="string", categories=("One year", "Two year")),
        Field(name="since", type="date"),
        Field(name="called", type="timestamp"),
        Field(name="vip", type="boolean"),
        Field(name="discount", type="number"),
        Field(name="channel", type="string"),
        Field(name="postcode", type="string"),
    ),
    outputs=(
        Field(name="churn", type="number", unit="probability", minimum=0, maximum=1),
        Field(name="risk", type="string", categories=("low", "high")),
    ),
)
REQUEST = (
    Field(name="discount", type="number", required=True, minimum=0, maximum=0.5, unit="share"),
    Field(name="channel", type="string", limits=Limits(values=("web", "phone"))),
    Field(name="postcode", type="string", limits=Limits(pattern="[0-9]{5}", longest=5, example="10115")),
    Field(name="visits", type="integer", minimum=0),
    Field(name="note", type="string", limits=Limits(shortest=2, longest=40)),
    Field(name="at", type="timestamp"),
)


class Fair:
    """A model that keeps to its own signature, whatever comes."""

    build = "fair 1"
    capabilities = RuntimeCapabilities(blocking=False)

    def predict(self, rows: Sequence[Row], *, deadline_us: int | None = None) -> list[tuple[Any, ...]]:
        return [self._one(row[1]) for row in rows]

    @staticmethod
    def _one(charges: float | None) -> tuple[float, str]:
        finite = charges if charges is not None and math.isfinite(charges) else 0.0
        chance = min(1.0, abs(finite) / 1000)
        return chance, "high" if chance > 0.5 else "low"

    def present(self) -> bool:
        return True

    def close(self) -> None:
        pass


@pytest.fixture
def rich(tmp_path: Path) -> Iterator[Served]:
    model: Any = ModelConfig(name="churn", input="customer", request_inputs=REQUEST)
    toy = Toy(tmp_path / "toy", model=model, fallback=None)
    toy.models[2] = Fair()  # type: ignore[assignment]
    toy.version(2, SIGNATURE)
    with serving(toy) as made:
        yield made
    toy.close()


def finds_nothing(served: Served, folder: Path, token: str | None, *more: str, most: int = 4, seed: int = 1) -> None:
    folder.mkdir(exist_ok=True)
    document = folder / "openapi.json"
    reader = served.caller(served.toy.key())
    document.write_bytes(reader.ask("GET", "/openapi.json").body)
    reader.close()
    said = [] if token is None else ["--header", f"Authorization: Bearer {token}"]
    run = subprocess.run(
        [
            sys.executable, "-m", "schemathesis.cli", "run", str(document), "--url", f"http://127.0.0.1:{served.port}",
            "--checks", "all", "--max-examples", str(most), "--seed", str(seed), "--no-color", *said, *more,
        ],
        cwd=folder, env=os.environ | {"SCHEMATHESIS_HOOKS": str(HOOKS), "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if run.returncode:
        pytest.fail(run.stdout + run.stderr, pytrace=False)


def test_nothing_is_found_with_an_api_key(rich: Served, tmp_path: Path) -> None:
    finds_nothing(rich, tmp_path / "run", rich.toy.key("operate"))
    assert rich.toy.receipts()


def test_nothing_is_found_without_one(rich: Served, tmp_path: Path) -> None:
    finds_nothing(rich, tmp_path / "run", None, "--phases", "examples,coverage,fuzzing", most=2)
    assert rich.toy.receipts() == []


def test_nothing_is_found_with_a_cards_token(rich: Served, tmp_path: Path) -> None:
    caller = rich.caller(rich.toy.key())
    said = caller.ask("POST", "/v1/churn/card-tokens", {"key": "A", "user": "j.doe", "inputs": {"discount": 0.1}})
    assert said.status == 201
    caller.close()
    card = ("--include-path-regex", "/card(/decisions)?$", "--phases", "coverage,fuzzing")
    finds_nothing(rich, tmp_path / "run", said.json["token"], *card)


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("key", ["operate", "predict", None])
def test_nothing_is_found_in_long_runs(rich: Served, tmp_path: Path, key: Any) -> None:
    token = None if key is None else rich.toy.key(key)
    seed = random.SystemRandom().randrange(10**9)  # schemathesis prints it
    finds_nothing(rich, tmp_path / "run", token, most=60, seed=seed)
