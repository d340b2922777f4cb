"""Ray Serve around LightGBM. argv: folder, port."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import ray
from ray import serve


@serve.deployment(ray_actor_options={"num_cpus": 1})
class Churn:
    def __init__(self, model: str) -> None:
        self.booster = lightgbm.Booster(model_file=model)

    async def __call__(self, request: Any) -> Any:
        row = (await request.json())["row"]
        return {"p": float(self.booster.predict(np.array([row]), num_threads=1)[0])}


if __name__ == "__main__":
    ray.init(num_cpus=2, include_dashboard=False, logging_level="error")
    serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[2])})
    serve.run(Churn.bind(str(Path(sys.argv[1], "model.txt"))), route_prefix="/predict")
    signal.pause()
