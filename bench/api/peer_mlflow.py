"""MLflow's scoring server around LightGBM. argv: folder, port."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import lightgbm
import mlflow

if __name__ == "__main__":
    folder = Path(sys.argv[1], "mlflow-model")
    if not folder.exists():
        mlflow.lightgbm.save_model(lightgbm.Booster(model_file=str(Path(sys.argv[1], "model.txt"))), str(folder))
    command = str(Path(sys.executable).with_name("mlflow"))
    argv = [
        "models",
        "serve",
        "-m",
        str(folder),
        "--env-manager",
        "local",
        "--host",
        "127.0.0.1",
        "--port",
        sys.argv[2],
    ]
    os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    os.execv(command, [command, *argv, "--workers", "1"])
