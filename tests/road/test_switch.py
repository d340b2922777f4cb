"""Another model version answers, under load: no request fails, and none is answered by anything half loaded."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import pytest

from mainstay.app.models import Wish, add_model, shop
from mainstay.core.ports import Write
from mainstay.core.records import Answering, encode
from mainstay.store.artifacts_local import LocalArtifacts
from mainstay.store.state_sqlite import SqliteState
from tests.app.shop import RULE, Shop
from tests.app.test_models import OUTPUT, trained
from tests.road.load import Load
from tests.road.running import Running

OWN = """
class Model:
    inputs = {"tenure": "number"}
    outputs = {"churn_probability": "number"}

    def predict(self, frame):
        return {"churn_probability": frame["tenure"] / 200}
"""


def added(world: Shop, wish: Wish) -> str:
    """Adds a version; its artifact's digest."""
    with shop(world.place) as at:
        version, _ = add_model(at, wish, by="anna")
    return version.digest


def answers(load: Load, number: int) -> bool:
    return load.got[-1].version == number


@pytest.mark.timeout(300)
def test_versions_of_every_kind_take_turns_under_load_and_no_request_fails(tmp_path: Path) -> None:
    world = Shop(tmp_path)
    world.begin(model=RULE, more="settings: {stop_after: 100ms}\n")
    folder = tmp_path / "mymodel"
    folder.mkdir()
    (folder / "model.py").write_text(OWN)
    added(world, Wish(file=trained(tmp_path / "churn.txt"), outputs=(OUTPUT,)))
    added(world, Wish(file=folder, python=sys.executable))
    with Running(world) as running:
        load = Load(running.callers())
        with load.going():
            for number in (2, 3, 1, 3, 2, 1):
                running.cli("model", "use", str(number))
                load.until(partial(answers, load, number), f"version {number} answers")
                load.more(10)
    assert not load.failed, load
    assert [one for one in load.got if one.why] == [], "no answer is degraded"
    outputs: dict[int, set[float]] = {}
    for one in load.got:
        outputs.setdefault(one.version, set()).add(one.output)
    assert outputs.keys() == {1, 2, 3}
    assert (outputs[1], outputs[3]) == ({0.3}, {0.15})
    assert len(outputs[2]) == 1


def test_a_version_that_does_not_load_leaves_the_old_one_answering_and_says_why(tmp_path: Path) -> None:
    world = Shop(tmp_path)
    world.begin(model=RULE, more="settings: {stop_after: 100ms}\n")
    digest = added(world, Wish(file=trained(tmp_path / "churn.txt"), outputs=(OUTPUT,)))
    artifact = LocalArtifacts(world.place.home.artifacts).path(digest)
    artifact.chmod(0o600)
    artifact.write_bytes(artifact.read_bytes()[:200])
    with Running(world) as running:
        load = Load(running.callers())
        with load.going():
            told = running.cli("model", "use", "2", code=3)
            assert "version 2 does not load" in told
            assert "nothing was changed" in told
            # Broken a moment later, it would have been chosen:
            state = SqliteState(world.place.home.state)
            chosen = Answering(version=2, previous=1, since_us=1, by="anna")
            state.commit([Write(space="answering", name="champion", body=encode(chosen))])
            state.close()
            running.until(lambda: "does not load" in running.log, "the log says it")
            running.until(lambda: "does not load" in str(running.status()["wrong"]), "status says it")
            load.more(10)
            (found,) = [one for one in running.status()["wrong"] if one["check"] == "model.load"]
    assert found["verdict"] == "FAIL"
    assert "model version 2 does not load, 1 still answers" in found["sentence"]
    assert "api-1, api-2" in found["sentence"]
    assert "mainstay model use 1" in found["mend"]
    assert running.log.count("model version 2 does not load") == 2, "once by each worker"
    assert not load.failed, load
    assert {(one.version, one.output) for one in load.got} == {(1, 0.3)}
