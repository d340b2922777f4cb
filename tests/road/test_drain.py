"""SIGTERM under load: first not ready, then drained; nobody who asked is left without an answer."""

from __future__ import annotations

import signal
import threading
import time
from pathlib import Path

from tests.app.shop import RULE, Shop
from tests.road.load import Load
from tests.road.running import Running


def test_sigterm_under_load_says_not_ready_first_and_no_request_fails(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    shop.begin(model=RULE, more="settings: {stop_after: 1s}\n")
    told: list[tuple[float, int]] = []
    with Running(shop) as running:
        load = Load(running.callers(), once_refused=True)

        def balance() -> None:
            while (status := running.ready()) != 0:
                told.append((time.monotonic(), status))
                time.sleep(0.02)

        balancer = threading.Thread(target=balance)
        with load.going():
            load.more(20)
            balancer.start()
            load.until(lambda: told, "the load balancer asks")
            running.process.send_signal(signal.SIGTERM)
            load.join()
            balancer.join(60)
        assert running.process.wait(60) == 0
    assert not load.failed, f"{load}\n{running.log[-2000:]}"
    assert {one.output for one in load.got} == {0.3}
    first = next(at for at, status in told if status == 503)
    assert {status for at, status in told if at < first} == {200}
    after = [one for one in load.got if one.at > first]
    assert {one.kind for one in after} == {"key", "rows", "oip", "grpc"}, "answered while it was not ready"
    assert "Traceback" not in running.log
