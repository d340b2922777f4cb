"""A trained model takes the place of the constant: imported with proof, used, and answering with a receipt."""

from __future__ import annotations

from pathlib import Path

import pytest

from mainstay.app.models import Wish, add_model, shop, use_model
from mainstay.core.errors import ModelRefused
from mainstay.core.records import ModelVersion
from tests.app.shop import Shop

OUTPUT = "churn_probability=predict_proba[1]"


def trained(file: Path) -> Path:
    """Tenures over 30 stay, in the words of either library."""
    import lightgbm
    import numpy as np
    import xgboost

    rows = np.array([[float(n)] for n in range(1, 200)])
    stays = [float(n % 70 > 30) for n in range(1, 200)]
    if file.suffix == ".ubj":
        data = xgboost.DMatrix(rows, stays, feature_names=["tenure"])
        xgboost.train({"objective": "binary:logistic"}, data, 5).save_model(file)
    else:
        made = lightgbm.Dataset(rows, stays, feature_name=["tenure"])
        lightgbm.train({"objective": "binary", "verbose": -1}, made, 5).save_model(file)
    return file


@pytest.fixture
def world(tmp_path: Path) -> Shop:
    made = Shop(tmp_path)
    made.begin()
    return made


def added(world: Shop, file: Path, *outputs: str) -> tuple[ModelVersion, tuple[str, ...]]:
    with shop(world.place) as at:
        version, told = add_model(at, Wish(file=file, outputs=outputs or (OUTPUT,)), by="anna")
        use_model(at, version.number, by="anna")
    return version, told


@pytest.mark.parametrize("name", ["churn.ubj", "churn.txt"])
def test_a_file_of_trees_is_proved_on_the_current_rows_and_answers(name: str, world: Shop) -> None:
    version, told = added(world, trained(world.folder / name))
    assert version.parity["current"]["rows"] == 6
    assert any("to the last bit on 6 rows" in line for line in told)
    few, many = world.outputs("person-0001"), world.outputs("person-0006")
    assert few["churn_probability"] < 0.5 < many["churn_probability"]


def test_one_that_does_not_fit_the_api_contract_is_refused(world: Shop) -> None:
    with pytest.raises(ModelRefused, match="the API promises churn_probability"), shop(world.place) as at:
        add_model(at, Wish(file=trained(world.folder / "churn.ubj"), outputs=("risk=predict_proba[1]",)), by="anna")
    assert world.outputs() == {"churn_probability": 0.26}
