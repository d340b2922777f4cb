"""BentoML around LightGBM. argv: folder, port."""

from __future__ import annotations

import os
import sys
from pathlib import Path

SERVICE = """
import bentoml
import lightgbm
import numpy as np


@bentoml.service(workers=1, traffic={{"timeout": 10}})
class Churn:
    def __init__(self) -> None:
        self.booster = lightgbm.Booster(model_file="{model}")

    @bentoml.api(route="/predict")
    def predict(self, row: list[float]) -> dict[str, float]:
        return {{"p": float(self.booster.predict(np.array([row]), num_threads=1)[0])}}
"""

if __name__ == "__main__":
    home = Path(sys.argv[1], "bentoml")
    home.mkdir(exist_ok=True)
    (home / "service.py").write_text(SERVICE.format(model=Path(sys.argv[1], "model.txt")))
    os.chdir(home)
    command = str(Path(sys.executable).with_name("bentoml"))
    os.execv(command, [command, "serve", "service:Churn", "--host", "127.0.0.1", "--port", sys.argv[2]])
