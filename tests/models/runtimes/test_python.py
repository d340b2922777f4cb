"""The original in its own process: killed when it hangs, restarted when it dies, and alone while it lives."""

from __future__ import annotations

import math
import os
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pyarrow as pa
import pytest

from mainstay.core.clock import SECOND, SystemClock
from mainstay.core.errors import ModelAway, ModelError, ModelRefused, ModelTimeout
from mainstay.core.ids import digest_bytes
from mainstay.models.runtimes import python_host
from mainstay.models.runtimes.python import PythonModel, PythonRuntime
from mainstay.models.runtimes.python_process import PythonHost, environment
from tests.models.conftest import SUM, sum_options

CLOCK = SystemClock()


def soon(seconds: float) -> int:
    return CLOCK.monotonic_us() + int(seconds * SECOND)


def until(true: Callable[[], bool], seconds: float = 20) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if true():
            return True
        time.sleep(0.01)
    return False


def host_of(lab: Path, folder: Path, name: str = "Adds", **more: Any) -> PythonHost:
    file = lab / f"{name}.pkl"
    return PythonHost(file, digest_bytes(file.read_bytes()), sum_options(lab, **more), folder / "model.sock")


def client(lab: Path, host: PythonHost) -> PythonModel:
    options = sum_options(lab, socket=str(host.socket), digest=host.digest)
    model = PythonRuntime().load(host.artifact, SUM, options)
    assert isinstance(model, PythonModel)
    return model


@pytest.fixture
def host(lab: Path, tmp_path: Path) -> Iterator[PythonHost]:
    made = host_of(lab, tmp_path)
    made.start()
    yield made
    made.close()


def test_many_connections_to_one_process(lab: Path, host: PythonHost) -> None:
    with closing(client(lab, host)) as one, closing(client(lab, host)) as other:
        assert one.predict([(1.0, 2.0), (None, 1.0)])[0] == (3.0,)
        assert other.predict([(2.0, 2.0)]) == [(4.0,)]
        assert one.build == other.build
        assert one.build.startswith("python 3.")


def test_the_socket_is_for_its_owner_alone_and_the_process_in_a_group_of_its_own(host: PythonHost) -> None:
    assert stat.S_IMODE(host.socket.stat().st_mode) == 0o600
    assert host.pid is not None
    assert os.getpgid(host.pid) == host.pid


def test_isolation_is_named(host: PythonHost) -> None:
    assert host.hello is not None
    assert {"own process group", "stripped environment"} <= set(host.hello.isolation)


def test_no_secret_of_the_environment_reaches_the_model(
    lab: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRM_URL", "postgresql://mainstay:s3cret@crm/crm")
    host = host_of(lab, tmp_path, "Snoops")
    host.start()
    try:
        with closing(client(lab, host)) as model:
            assert model.predict([(0.0, 0.0)]) == [(float(len(environment("/"))),)]
    finally:
        host.close()


def test_no_request_pays_for_the_first_call(lab: Path, tmp_path: Path) -> None:
    """The first call of a cold process can outlive a deadline, and the process would be killed, and cold again."""
    host = host_of(lab, tmp_path, "Counts", warm=[0.0, 0.0])
    host.start()
    try:
        with closing(client(lab, host)) as model:
            assert model.predict([(0.0, 0.0)]) == [(2.0,)]
    finally:
        host.close()


def test_a_model_that_hangs_is_killed_and_comes_back(lab: Path, host: PythonHost) -> None:
    first = host.pid
    with closing(client(lab, host)) as model:
        model.predict([(1.0, 1.0)])
        with pytest.raises(ModelTimeout, match="killed"):
            model.predict([(-1.0, 0.0)], deadline_us=soon(0.3))
        assert until(lambda: host.ensure() == "ready" and host.pid != first)
        assert model.predict([(1.0, 1.0)]) == [(2.0,)]
        assert host.restarts == 1


def test_a_model_that_hangs_in_c_takes_itself_away(lab: Path, host: PythonHost) -> None:
    """Nobody is left to kill it: the timer in the process needs no lock of the interpreter's."""
    model = client(lab, host)
    first = host.pid
    assert first is not None

    def ask() -> None:
        with suppress(ModelError):
            model.ask({"op": "predict"}, model._encoded([(-4.0, 0.0)]), soon(0.5))

    model._kill = lambda connection: None  # type: ignore[method-assign]
    ask()
    assert until(lambda: host.ensure() == "ready" and host.pid != first)
    model.close()


def test_requests_that_wait_for_a_hung_model_time_out_too(lab: Path, host: PythonHost) -> None:
    with closing(client(lab, host)) as model:
        model.predict([(1.0, 1.0)])
        heard: list[object] = []

        def ask(row: tuple[float, float], seconds: float) -> None:
            try:
                heard.append(model.predict([row], deadline_us=soon(seconds)))
            except ModelTimeout as error:
                heard.append(type(error))

        hanging = threading.Thread(target=ask, args=((-1.0, 0.0), 0.5))
        hanging.start()
        assert until(model._turn.locked)
        waiting = threading.Thread(target=ask, args=((1.0, 1.0), 30))
        waiting.start()
        hanging.join()
        waiting.join()
        assert heard == [ModelTimeout, ModelTimeout]


def test_waiting_for_others_past_the_deadline_does_not_kill_them(lab: Path, host: PythonHost) -> None:
    first = host.pid
    with closing(client(lab, host)) as slow, closing(client(lab, host)) as hasty:
        slow.predict([(1.0, 1.0)])
        hasty.predict([(1.0, 1.0)])
        answers: list[object] = []
        thread = threading.Thread(target=lambda: answers.append(slow.predict([(-5.0, 6.0)])))
        thread.start()
        assert until(slow._turn.locked)
        time.sleep(0.05)  # the slow request is on its way; should it still be behind, the assertions hold all the same
        with suppress(ModelTimeout):
            hasty.predict([(1.0, 1.0)], deadline_us=soon(0.05))
        thread.join()
        assert answers == [[(1.0,)]]
        assert host.ensure() == "ready"
        assert host.pid == first


def test_a_process_that_dies_is_away_and_comes_back(lab: Path, host: PythonHost) -> None:
    first = host.pid
    with closing(client(lab, host)) as model:
        with pytest.raises(ModelAway) as told:
            model.predict([(-2.0, 0.0)])
        assert told.value.transient
        assert until(lambda: host.ensure() == "ready" and host.pid != first)
        assert model.predict([(1.0, 1.0)]) == [(2.0,)]


def test_a_restart_between_requests_is_not_noticed(lab: Path, host: PythonHost) -> None:
    with closing(client(lab, host)) as model:
        assert model.predict([(1.0, 1.0)]) == [(2.0,)]
        host.kill()
        host.start()
        assert model.predict([(1.0, 1.0)]) == [(2.0,)]


def test_back_off_doubles_and_no_process_runs_meanwhile(lab: Path, host: PythonHost) -> None:
    host.kill()
    assert host.state == "waiting"
    assert host.pid is None
    assert host.ensure() == "waiting"
    first_us = host._wait_us
    host.start()
    host.kill()
    assert host._wait_us == 2 * first_us


def test_a_model_that_hangs_while_it_loads_is_given_up(lab: Path, tmp_path: Path) -> None:
    host = host_of(lab, tmp_path, "HangsWhileItLoads", load_timeout_us=SECOND)
    with pytest.raises(ModelTimeout, match="not loaded within 1 s"):
        host.start()
    assert host.pid is None
    host.close()


def test_a_wrong_digest_is_not_opened(lab: Path, tmp_path: Path) -> None:
    host = PythonHost(lab / "Adds.pkl", digest_bytes(b"another"), sum_options(lab), tmp_path / "model.sock")
    with pytest.raises(ModelRefused, match="do not match its digest"):
        host.start()
    assert host.ensure() == "refused", "what can never work is not tried again by itself"
    host.close()


def test_what_the_model_says_of_a_row_is_not_repeated(lab: Path, host: PythonHost) -> None:
    with closing(client(lab, host)) as model:
        with pytest.raises(ModelRefused) as told:
            model.predict([(-3.0, 0.0)])
        assert "ValueError" in str(told.value)
        assert "secret" not in str(told.value)
        assert model.predict([(1.0, 1.0)]) == [(2.0,)]


def test_an_interpreter_that_is_not_there(lab: Path, tmp_path: Path) -> None:
    host = host_of(lab, tmp_path, python="/nowhere/bin/python")
    with pytest.raises(ModelRefused, match="--python"):
        host.start()
    host.close()


def test_nobody_listens_yet(lab: Path, tmp_path: Path) -> None:
    host = host_of(lab, tmp_path)
    with closing(client(lab, host)) as model:
        with pytest.raises(ModelAway):
            model.predict([(1.0, 1.0)])
        host.start()
        assert model.predict([(1.0, 1.0)]) == [(2.0,)]
    host.close()


def test_another_model_at_the_socket_is_refused(lab: Path, host: PythonHost) -> None:
    options = sum_options(lab, socket=str(host.socket), digest=digest_bytes(b"another"))
    with pytest.raises(ModelRefused, match="another artifact"):
        PythonRuntime().load(host.artifact, SUM, options)


def test_one_started_for_a_single_use_ends_with_it_and_a_deep_folder_is_no_hindrance(lab: Path, tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    deep.mkdir(parents=True)
    host = host_of(lab, deep)
    host.start()
    with closing(client(lab, host)) as model:
        assert model.predict([(1.0, 1.0)]) == [(2.0,)]
    host.close()
    alone = PythonRuntime().load(lab / "Adds.pkl", SUM, sum_options(lab, start=True, socket=str(host.socket)))
    assert isinstance(alone, PythonModel)
    assert alone._host is not None
    pid = alone._host.pid
    assert pid is not None
    assert alone.predict([(1.0, 1.0)]) == [(2.0,)]
    alone.close()
    assert not psutil.pid_exists(pid)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("rows", [0, 1, 3])
def test_a_frame_of_numbers_is_what_its_columns_are(dtype: str, rows: int) -> None:
    names = ["b", "mean radius", "a"]
    specs = [{"name": name, "dtype": dtype} for name in names]
    values = [0.1, None, math.inf][:rows]
    table = pa.table({name: pa.array(values, pa.float64()) for name in reversed(names)})
    made = python_host.rebuild(table, {"container": "frame", "columns": specs})
    series = {spec["name"]: python_host.series(table.column(spec["name"]), spec, pd) for spec in specs}
    pd.testing.assert_frame_equal(made, pd.DataFrame(series, columns=names, index=range(rows)))
