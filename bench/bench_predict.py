"""Predict by key with everything on, beside a hand-written FastAPI handler that only calls the same ONNX model.

`python bench/bench_predict.py [--rounds 3] [--seconds 4]`: one worker each, rounds in turn, the median of the ratios.
Ours authenticates, validates, reads the row, judges its freshness, predicts, writes the receipt and counts. Theirs is
sent the model's inputs and predicts. Before any measurement both are checked against the model itself.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil
from bench.load import Load, Target, load

from mainstay.app.supervisor import listen
from mainstay.core.clock import SystemClock
from mainstay.core.nouns import Field, Signature
from mainstay.core.ports import OnlineRow, Write
from mainstay.core.records import Answering, Applied, DatasetState, FeatureSetState, ModelVersion, encode
from mainstay.core.verdicts import Verdict
from mainstay.serving.keys import create_key
from mainstay.store.artifacts_local import LocalArtifacts
from mainstay.store.home import Home
from mainstay.store.online_sqlite import SqliteOnline
from mainstay.store.state_sqlite import SqliteState

KEYS = 10_000
BARS = {1: 1.0, 8: 1.5, 64: 1.5}
NUMBERS = ("tenure", "monthly_charges", "total_charges", "age", "tickets", "late_payments")
WORDS = {
    "contract": ("Month-to-month", "One year", "Two year"),
    "payment": ("Electronic check", "Mailed check", "Bank transfer", "Credit card"),
    "internet": ("DSL", "Fiber optic", "No"),
    "gender": ("Female", "Male"),
    "partner": ("Yes", "No"),
    "dependents": ("Yes", "No"),
    "paperless": ("Yes", "No"),
    "security": ("Yes", "No", "No internet service"),
}
COLUMNS = {**dict.fromkeys(NUMBERS, "number"), **dict.fromkeys(WORDS, "string")}
FILE = """
integration: churn
api: 1
sources:
  crm: {kind: sqlite, path: /nowhere.sqlite, timezone: UTC}
datasets:
  customers:
    source: crm
    table: customers
    key: customer_id
    every: 10s
    owner: bench@example.com
    freshness: {warn: 12h, fail: 24h, newest: 30d}
    columns:
      customer_id: {type: string, required: true}
features:
  customer: {key: customer_id, from: {customers: customer_id}, sql: features/customer.sql}
model: {name: churn, input: customer, constant: {churn_probability: 0.3}}
"""


def train(folder: Path) -> tuple[list[dict[str, Any]], list[float]]:
    """A gradient boosting pipeline as a data scientist would make it, as ONNX; its rows and its answers."""
    import pandas as pd
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType, StringTensorType
    from sklearn.compose import ColumnTransformer
    from sklearn.ensemble import GradientBoostingClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    random = np.random.default_rng(7)
    frame = pd.DataFrame({name: random.integers(0, 100, KEYS) / 4 for name in NUMBERS}, dtype=np.float32)
    for name, values in WORDS.items():
        frame[name] = random.choice(values, KEYS)
    target = (frame["tenure"] + random.normal(0, 8, KEYS) < 10) | (frame["contract"] == "Month-to-month")
    encoded = ColumnTransformer([("n", StandardScaler(), list(NUMBERS)), ("w", OneHotEncoder(), list(WORDS))])
    pipeline = make_pipeline(encoded, GradientBoostingClassifier(n_estimators=100, max_depth=3)).fit(frame, target)
    types = [
        (name, FloatTensorType([None, 1]) if kind == "number" else StringTensorType([None, 1]))
        for name, kind in COLUMNS.items()
    ]
    graph = convert_sklearn(pipeline, initial_types=types, options={"zipmap": False}, target_opset=17)
    (folder / "model.onnx").write_bytes(graph.SerializeToString())
    (folder / "columns.json").write_text(json.dumps(COLUMNS))
    rows: list[dict[str, Any]] = json.loads(frame.to_json(orient="records"))
    return rows, pipeline.predict_proba(frame)[:, 1].tolist()


def fill(root: Path, model: Path, rows: list[dict[str, Any]]) -> str:
    """A home as `mainstay up` would have it. Returns an API key."""
    clock, home = SystemClock(), Home(root, "churn")
    home.create()
    now = clock.now_us()
    signature = Signature(
        inputs=tuple(Field(name=name, type=kind) for name, kind in COLUMNS.items()),  # type: ignore[arg-type]
        outputs=(Field(name="churn_probability", type="number", unit="probability"),),
    )
    features = FeatureSetState(
        digest="sha256:features",
        view="customer",
        key="customer_id",
        key_type="string",
        sql="",
        mapping={"customers": "customer_id"},
        columns=tuple(COLUMNS.items()),  # type: ignore[arg-type]
        complete=True,
    )
    version = ModelVersion(
        number=1,
        name="churn",
        digest=LocalArtifacts(home.artifacts).put(model),
        runtime="onnx",
        signature=signature,
        options={"outputs": [{"name": "churn_probability", "tensor": "probabilities", "column": 1}]},
        feature_set=features.digest,
        origin="imported",
        created_us=now,
    )
    files = {"mainstay.yaml": FILE, "features/customer.sql": "SELECT customer_id FROM customers"}
    records = {
        ("applied", "file"): Applied(digest="sha256:file", folder=str(root), files=files, at_us=now),
        ("feature_set", features.digest): features,
        ("dataset", "customers"): DatasetState(as_of_us=now, newest_us=now, rows=len(rows)),
        ("model", "000001"): version,
        ("answering", "champion"): Answering(version=1, since_us=now),
    }
    state = SqliteState(home.state)
    state.commit([Write(space=space, name=name, body=encode(record)) for (space, name), record in records.items()])
    token, _ = create_key(state, "bench", "operate", clock=clock)
    state.close()
    online = SqliteOnline(home.online)
    online.put(
        features.digest,
        (
            OnlineRow(
                f"K{number:05d}", 1, json.dumps(list(row.values())).encode(), now, now, Verdict.PASS, "",
                False, None, False, None, b'{"customers":[1,%d]}' % number,
            )
            for number, row in enumerate(rows)
        ),
        token=1,
    )  # fmt: skip
    online.close()
    return token


def ask(target: Target, number: int) -> dict[str, Any]:
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {target.token}"}
    url = f"http://127.0.0.1:{target.port}{target.path}"
    request = urllib.request.Request(url, target.bodies[number].encode(), headers)
    with urllib.request.urlopen(request, timeout=5) as response:
        answer: dict[str, Any] = json.load(response)
        return answer


@contextlib.contextmanager
def running(argv: list[str], port: int, fds: tuple[int, ...] = ()) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(argv, pass_fds=fds)
    try:
        for _ in range(600):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.2):
                break
            time.sleep(0.1)
        yield process
    finally:
        process.terminate()
        process.wait(30)


class Server(NamedTuple):
    target: Target
    process: psutil.Process

    def cpu(self) -> float:
        times = self.process.cpu_times()
        return times.user + times.system


class Run(NamedTuple):
    load: Load
    cpu_us: float
    """Processor time of the server for each request."""


def check(ours: Target, theirs: Target, truth: list[float]) -> None:
    worst = 0.0
    for number in range(0, KEYS, KEYS // 200):
        mine = ask(ours, number)
        glue = ask(theirs, number)
        assert mine["verdict"] == "PASS"
        assert mine["receipt"]
        answers = (mine["output"]["churn_probability"], glue["churn_probability"])
        worst = max(worst, *(abs(answer - truth[number]) for answer in answers))
    assert worst < 1e-5, worst
    print(f"200 answers of both equal the model's, largest difference {worst:.1e}")


def measure(server: Server, clients: int, seconds: float) -> Run:
    before = server.cpu()
    one = load(server.target, clients, seconds)
    if one.wrong:
        print(f"  {one.wrong} failed requests to {server.target.path}")
    return Run(one, (server.cpu() - before) / (one.per_second * seconds) * 1e6)


def compare(ours: Server, theirs: Server, options: Any) -> bool:
    good = True
    for clients in options.clients:
        runs = []
        for _ in range(options.rounds):
            glue = measure(theirs, clients, options.seconds)
            mine = measure(ours, clients, options.seconds)
            runs.append((mine.load.per_second / glue.load.per_second, mine, glue))
        runs.sort(key=lambda run: run[0])
        ratio, mine, glue = runs[len(runs) // 2]
        met = ratio >= BARS[clients]
        good &= met
        processor = statistics.median(run[2].cpu_us / run[1].cpu_us for run in runs)
        print(
            f"{clients:3d} clients: {ratio:.2f} x (bar {BARS[clients]:.1f}, {'met' if met else 'MISSED'}; "
            f"by processor time {processor:.2f} x)  Mainstay {_told(mine)}  glue {_told(glue)}",
            flush=True,
        )
    return good


def _told(run: Run) -> str:
    one = run.load
    return f"{one.per_second:,.0f}/s p50 {one.p50_ms:.2f} p99 {one.p99_ms:.2f} ms {run.cpu_us:.0f} us"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--clients", type=int, nargs="*", default=list(BARS))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mainstay-bench-") as folder:
        root = Path(folder)
        rows, truth = train(root)
        token = fill(root / "home", root / "model.onnx", rows)
        keys = [json.dumps({"key": f"K{number:05d}"}) for number in range(KEYS)]
        free = listen("127.0.0.1", 0)
        port = free.getsockname()[1]
        free.close()
        listening = listen("127.0.0.1", 0)
        ours = Target(listening.getsockname()[1], "/v1/churn/predict", keys, token)
        theirs = Target(port, "/predict", [json.dumps(row) for row in rows], "")
        worker = [sys.executable, "-m", "mainstay.http.serve", "--home", str(root / "home"), "--integration", "churn"]
        worker += ["--fd", str(listening.fileno())]
        glue = [sys.executable, str(Path(__file__).with_name("glue_onnx.py")), str(root), str(port)]
        with running(worker, ours.port, (listening.fileno(),)) as mine, running(glue, port) as other:
            check(ours, theirs, truth)
            servers = (Server(ours, psutil.Process(mine.pid)), Server(theirs, psutil.Process(other.pid)))
            return 0 if compare(*servers, options) else 1


if __name__ == "__main__":
    sys.exit(main())
