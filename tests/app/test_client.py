"""Clients made of the API contract: type-checked by their own languages, and run against a real server."""

from __future__ import annotations

import importlib.util
import json
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mainstay.app.client.writing import MARK, find_contract, text_of, write
from mainstay.cli.main import run
from mainstay.core.clock import DAY
from mainstay.core.errors import ModelAway, NotFound, Refused
from mainstay.core.nouns import Field, Limits, ModelConfig, Retired
from mainstay.core.ports import Row
from mainstay.serving import contract as api_contract
from mainstay.serving.contract import ApiContract
from tests.http.serving import Served, serving
from tests.http.test_schema import REQUEST, SIGNATURE, Fair
from tests.laws.reading import ROOT
from tests.serving.toy import NOW, Toy

NPM = ROOT / ".make" / "typescript"
TYPESCRIPT = "typescript@5.9.3"


class Shaky(Fair):
    """Is away for the first requests that it gets."""

    def __init__(self) -> None:
        self.away = 0

    def predict(self, rows: Sequence[Row], *, deadline_us: int | None = None) -> list[tuple[Any, ...]]:
        if self.away:
            self.away -= 1
            raise ModelAway("the model's process is being restarted")
        return super().predict(rows, deadline_us=deadline_us)


@pytest.fixture
def shaky() -> Shaky:
    return Shaky()


@pytest.fixture
def served(tmp_path: Path, shaky: Shaky) -> Iterator[Served]:
    toy = Toy(
        tmp_path / "toy", model=ModelConfig(name="churn", input="customer", request_inputs=REQUEST), fallback=None
    )
    toy.models[2] = shaky  # type: ignore[assignment]
    toy.version(2, SIGNATURE)
    with serving(toy) as made:
        yield made
    toy.close()


def contract_of(toy: Toy) -> ApiContract:
    snap = toy.view.now
    assert snap is not None
    assert snap.version is not None
    return api_contract.build(snap.integration, snap.columns, snap.version.signature, keys=snap.key_columns)


def imported(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def made(served: Served, tmp_path: Path) -> Iterator[Any]:
    path = tmp_path / "churn_client.py"
    write(path, text_of(contract_of(served.toy), "python"), force=False)
    yield imported(path)
    del sys.modules["churn_client"]


def client_of(made: Any, served: Served, token: str | None = None, **options: Any) -> Any:
    return made.Client(f"http://127.0.0.1:{served.port}", token or served.toy.key(), **options)


def test_the_python_client_asks_by_key_by_keys_and_with_rows(made: Any, served: Served) -> None:
    client = client_of(made, served)
    answer = client.predict("A", {"discount": 0.1, "channel": "web"})
    assert (answer.output["risk"], answer.verdict, answer.model_version) == ("low", "PASS", 2)
    assert answer.age_seconds == 10.0
    first, second = client.predict_keys(["A", "nobody"], {"discount": 0.1})
    assert isinstance(first, made.Answer)
    assert (second.status, second.reason, type(second)) == (404, "on_missing", made.Refusal)
    row = {"charges": float("inf"), "discount": 0.1, "at": made.datetime.fromisoformat("2026-01-31T12:00:00+01:00")}
    (given,) = client.predict_rows([row])
    assert (given.verdict, given.age_seconds) == ("UNKNOWN", None)
    assert client.decide(answer.receipt, "overridden", reason="called", id="d1").repeated is False
    assert client.decide(answer.receipt, "overridden", reason="called", id="d1").repeated is True
    assert client.come_true(answer.receipt, True).receipt == answer.receipt
    assert client.receipt(answer.receipt)["key"] == "A"


def test_the_python_clients_errors_hold_the_problem(made: Any, served: Served) -> None:
    client = client_of(made, served)
    with pytest.raises(made.NotFound, match="there is no row with this key") as missing:
        client.predict("nobody", {"discount": 0.1})
    assert missing.value.problem["receipt"]
    with pytest.raises(made.BadRequest, match=r"at most 0\.5") as wrong:
        client.predict("A", {"discount": 3})
    assert (wrong.value.status, wrong.value.problem["where"]) == (422, "inputs.discount")
    with pytest.raises(made.Unauthorized):
        client_of(made, served, "msk_no_one").predict("A", {"discount": 0.1})
    with pytest.raises(made.Unreachable):
        made.Client("http://127.0.0.1:9", "msk", attempts=1, timeout=1).predict("A", {"discount": 0.1})
    retired = Retired(on_us=NOW - DAY, sunset_us=NOW - DAY, successor="/v1/churn-2/predict")
    served.toy.file = msgspec.structs.replace(served.toy.file, retired=retired)
    served.toy.reapply()
    with pytest.raises(made.Gone) as gone:
        client.predict("A", {"discount": 0.1})
    assert gone.value.problem["successor"] == "/v1/churn-2/predict"


def test_the_python_client_tries_again_as_often_as_it_may(made: Any, served: Served, shaky: Shaky) -> None:
    waited: list[float] = []
    made.time = type("Time", (), {"sleep": staticmethod(waited.append)})
    client = client_of(made, served)
    shaky.away = 2
    assert client.predict("A", {"discount": 0.1}).output["risk"] == "low"
    assert len(waited) == 2
    assert all(wait >= 1 for wait in waited)  # what Retry-After asked for
    shaky.away = 3
    with pytest.raises(made.Unavailable) as away:
        client.predict("A", {"discount": 0.1})
    assert (away.value.status, away.value.problem["reason"], len(waited)) == (503, "on_error", 4)
    shaky.away = 1
    with pytest.raises(made.Unavailable):
        client_of(made, served, longest_wait=0.5).predict("A", {"discount": 0.1})
    assert len(waited) == 4


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
        b"no HTTP at all\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnope",
    ],
)
def test_the_python_client_tells_of_a_reply_that_is_none(made: Any, reply: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening, ThreadPoolExecutor(1) as threads:

        def answer() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(reply)

        done = threads.submit(answer)
        client = made.Client(f"http://127.0.0.1:{listening.getsockname()[1]}", "msk", attempts=1)
        with pytest.raises(made.Unreachable):
            client.receipt("r")
        done.result()


def test_the_python_client_takes_its_api_key_nowhere_else(made: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as elsewhere, socket.create_server(("127.0.0.1", 0)) as listening:
        elsewhere.settimeout(0.5)
        there = f"http://127.0.0.1:{elsewhere.getsockname()[1]}/"
        with ThreadPoolExecutor(1) as threads:

            def answer() -> bytes:
                connection, _ = listening.accept()
                with connection:
                    asked = connection.recv(65536)
                    head = f"HTTP/1.1 302 Found\r\nLocation: {there}\r\nContent-Length: 0\r\n\r\n"
                    connection.sendall(head.encode())
                    return asked

            done = threads.submit(answer)
            client = made.Client(f"http://127.0.0.1:{listening.getsockname()[1]}", "msk", attempts=1)
            with pytest.raises(made.ApiError) as refused:
                client.receipt("a/../b?c")
            assert done.result().startswith(b"GET /v1/receipts/a%2F..%2Fb%3Fc HTTP/1.1")
        assert refused.value.status == 302
        with pytest.raises(TimeoutError):
            elsewhere.accept()


def test_a_prediction_that_is_sent_again_is_done_once(made: Any, served: Served) -> None:
    client = client_of(made, served)
    sent = client._send

    def lost(*arguments: Any) -> Any:
        client._send = sent
        sent(*arguments)
        raise made.Unreachable("the answer was lost")

    before = len(served.toy.receipts())
    client._send = lost
    assert client.predict("A", {"discount": 0.1}).receipt
    assert len(served.toy.receipts()) == before + 1


USE = """
from datetime import date, datetime
from churn_client import Answer, Client, Inputs, Row

client = Client("http://127.0.0.1:1", "msk_x")
inputs: Inputs = {"discount": 0.1, "channel": "web", "at": datetime.now()}
row: Row = {"tenure": 3, "charges": None, "discount": 0.2}
answer: Answer = client.predict("A", inputs)
risk: float | None = answer.output["churn"]
names: list[str | None] = [one.receipt for one in client.predict_rows([row])]
"""
WRONG = (
    'client.predict("A")',
    'client.predict(7, {"discount": 0.1})',
    'client.predict("A", {"discount": "much"})',
    'client.predict("A", {"discount": 0.1, "channel": "fax"})',
    'client.predict("A", {"channel": "web"})',
    'client.predict_rows([{"tenur": 3, "discount": 0.1}])',
    'client.decide("r", "agreed")',
    'answer.output["chrun"]',
    'answer.output["risk"] == "lwo"',
)


def test_the_python_client_is_typed_by_the_contract(made: Any, tmp_path: Path) -> None:
    use = tmp_path / "use.py"
    use.write_text(USE + "\n".join(WRONG) + "\n")
    checked = subprocess.run(
        [
            sys.executable, "-m", "mypy", "--strict", "--python-version", "3.11", "--enable-error-code",
            "comparison-overlap", "--config-file", "/dev/null", "--cache-dir", "mypy", "churn_client.py", "use.py",
        ],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    told = [line for line in checked.stdout.splitlines() if ": error:" in line]
    lines = {int(line.split(":")[1]) for line in told if line.startswith("use.py")}
    begin = USE.count("\n") + 1
    assert lines == set(range(begin, begin + len(WRONG))), checked.stdout
    assert not [line for line in told if not line.startswith("use.py")], checked.stdout


ODD = ApiContract(
    integration="odd-one",
    api=3,
    key=Field(name="order_id", type="integer", required=True),
    keys=(Field(name="order_id", type="integer", required=True), Field(name="closed", type="boolean", required=True)),
    columns=(Field(name="class", type="string"), Field(name="from", type="bytes", meaning='two\nlines */ "quoted"')),
    outputs=(Field(name="return", type="timestamp"),),
)
ALONE = ApiContract(
    integration="alone",
    api=1,
    key=Field(name="vip", type="boolean", required=True),
    inputs=(Field(name="level", type="integer", limits=Limits(values=(1, 2))),),
    outputs=(),
)


@pytest.mark.parametrize("contract", [ODD, ALONE])
def test_names_that_are_words_of_the_language_are_no_trouble(contract: ApiContract, tmp_path: Path) -> None:
    path = tmp_path / "client.py"
    path.write_text(text_of(contract, "python"))
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file", "/dev/null", "--cache-dir", "mypy", "client.py"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert checked.returncode == 0, checked.stdout
    module = imported(path)
    del sys.modules["client"]
    assert contract.api == module.API


def test_the_contract_is_the_newest_or_the_one_asked_for(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no API contract yet"):
        find_contract(tmp_path)
    for api in (1, 2, 10):
        api_contract.write(api_contract.path_of(tmp_path, api), msgspec.structs.replace(ODD, api=api))
    assert find_contract(tmp_path).api == 10
    assert find_contract(tmp_path, 2).api == 2
    with pytest.raises(NotFound):
        find_contract(tmp_path, 7)


def test_a_file_that_is_somebodys_own_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "client.py"
    assert write(path, f"{MARK} 1", force=False)
    assert not write(path, f"{MARK} 1", force=False)
    assert write(path, f"{MARK} 2", force=False)
    path.write_text("mine")
    with pytest.raises(Refused, match="none that Mainstay made"):
        write(path, f"{MARK} 2", force=False)
    assert write(path, f"{MARK} 2", force=True)


def test_an_out_that_is_no_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(Refused, match=r"the client cannot be written: (file exists|not a directory)"):
        write(tmp_path / "out" / "client.py", MARK, force=False)


def test_the_command_writes_one_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    api_contract.write(api_contract.path_of(tmp_path, 3), ODD)
    (tmp_path / "mainstay.yaml").write_text("integration: odd-one\n")
    for language, name in (("python", "odd_one_client.py"), ("typescript", "odd_one_client.ts")):
        given = [
            "client",
            language,
            "--file",
            str(tmp_path / "mainstay.yaml"),
            "--out",
            str(tmp_path / "out"),
            "--json",
        ]
        for written in (True, False):
            assert run(given) == 0
            told = json.loads(capsys.readouterr().out)
            assert told == {
                "file": str(tmp_path / "out" / name), "api": 3, "language": language, "written": written
            }  # fmt: skip
        assert MARK in (tmp_path / "out" / name).read_text()


# --- TypeScript ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def tsc() -> Path:
    """TypeScript's compiler out of the npm registry, kept in .make; skipped where there is none."""
    found = NPM / "node_modules" / "typescript" / "bin" / "tsc"
    if not found.is_file():
        try:
            NPM.mkdir(parents=True, exist_ok=True)
            done = subprocess.run(
                ["npm", "install", "--prefix", str(NPM), "--no-audit", "--no-fund", TYPESCRIPT],
                capture_output=True, text=True, timeout=120, check=False,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as error:
            pytest.skip(f"npm cannot install {TYPESCRIPT}: {error}")
        if done.returncode or not found.is_file():
            pytest.skip(f"npm cannot install {TYPESCRIPT}: {done.stderr[-300:]}")
    return found


def compiled(tsc: Path, folder: Path, *files: str) -> str:
    done = subprocess.run(
        ["node", str(tsc), "--strict", "--target", "es2022", "--module", "nodenext", "--lib", "es2022,dom", *files],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.stdout + done.stderr


TS_USE = """
import { ApiError, BadRequest, Client, Gone, Inputs, NotFound, Row, Unreachable } from "./churn_client.js";

const [url, key] = process.argv.slice(2);
const client = new Client(url, key);
const inputs: Inputs = { discount: 0.1, channel: "web" };
const told: unknown[] = [];
const answer = await client.predict("A", inputs);
told.push(answer.output.risk, answer.verdict, answer.age_seconds);
const [first, second] = await client.predictKeys(["A", "nobody"], inputs);
told.push(first.output?.risk, second.output === undefined && second.status);
const row: Row = { charges: Infinity, discount: 0.1 };
const [given] = await client.predictRows([row]);
told.push(given.verdict, given.age_seconds);
told.push((await client.decide(answer.receipt!, "overridden", { reason: "called", id: "d1" })).repeated);
told.push((await client.comeTrue(answer.receipt!, true)).receipt === answer.receipt);
told.push((await client.receipt(answer.receipt!)).key);
for (const act of [
  () => client.predict("nobody", inputs), () => client.predict("A", { discount: 3 }),
  () => new Client("http://127.0.0.1:9", "msk", { attempts: 1 }).predict("A", inputs),
]) {
  try {
    await act();
  } catch (error) {
    const { name } = error as Error;
    told.push(error instanceof ApiError ? [name, error.status, error.problem.where ?? ""] : name);
    told.push(error instanceof NotFound || error instanceof BadRequest || error instanceof Unreachable);
  }
}
console.log(JSON.stringify(told));
"""


def test_the_typescript_client_compiles_and_works(served: Served, shaky: Shaky, tmp_path: Path, tsc: Path) -> None:
    (tmp_path / "package.json").write_text('{"type": "module"}')
    (tmp_path / "churn_client.ts").write_text(text_of(contract_of(served.toy), "typescript"))
    (tmp_path / "use.ts").write_text("declare const process: { argv: string[] };\n" + TS_USE)
    assert compiled(tsc, tmp_path, "use.ts") == ""
    shaky.away = 1  # the first answer is 503 with Retry-After: it is asked again
    ran = subprocess.run(
        ["node", "use.js", f"http://127.0.0.1:{served.port}", served.toy.key()],
        cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout) == [
        "low", "PASS", 10.0, "low", 404, "UNKNOWN", None, False, True, "A",
        ["NotFound", 404, ""], True, ["BadRequest", 422, "inputs.discount"], True, "Unreachable", True,
    ]  # fmt: skip


def test_the_typescript_client_is_typed_by_the_contract(served: Served, tmp_path: Path, tsc: Path) -> None:
    (tmp_path / "package.json").write_text('{"type": "module"}')
    (tmp_path / "churn_client.ts").write_text(text_of(contract_of(served.toy), "typescript"))
    begin = 'import { Client } from "./churn_client.js";\nconst client = new Client("u", "k");\n'
    (tmp_path / "wrong.ts").write_text(
        begin + "\n".join(each.replace("predict_rows", "predictRows") for each in WRONG[:7])
    )
    told = compiled(tsc, tmp_path, "wrong.ts", "--noEmit")
    lines = {int(line.partition("(")[2].partition(",")[0]) for line in told.splitlines() if line.startswith("wrong.ts")}
    assert lines == set(range(3, 10)), told


@pytest.mark.parametrize("contract", [ODD, ALONE])
def test_any_contract_compiles(contract: ApiContract, tmp_path: Path, tsc: Path) -> None:
    (tmp_path / "client.ts").write_text(text_of(contract, "typescript"))
    assert compiled(tsc, tmp_path, "client.ts", "--noEmit") == ""
