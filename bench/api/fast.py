"""What people write by hand: FastAPI around LightGBM or ONNX Runtime on one thread. argv: folder, port, model."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn
from fastapi import FastAPI
from pydantic import create_model


def predictor(folder: Path, model: str) -> Any:
    if model == "lightgbm":
        import lightgbm

        booster = lightgbm.Booster(model_file=str(folder / "model.txt"))
        return lambda row: float(booster.predict(np.array([row]), num_threads=1)[0])
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        (folder / "hgb.onnx").read_bytes(), settings, providers=["CPUExecutionProvider"]
    )
    return lambda row: float(session.run(["probabilities"], {"x": np.array([row], np.float32)})[0][0, 1])


def build(folder: Path, model: str) -> FastAPI:
    names = json.loads((folder / "features.json").read_text())
    row_type: Any = create_model("Row", **dict.fromkeys(names, (float, ...)))
    predict_one = predictor(folder, model)
    app = FastAPI()

    async def predict(row: row_type) -> dict[str, float]:
        return {"p": predict_one([getattr(row, name) for name in names])}

    predict.__annotations__["row"] = row_type
    app.post("/predict")(predict)
    return app


if __name__ == "__main__":
    uvicorn.run(build(Path(sys.argv[1]), sys.argv[3]), host="127.0.0.1", port=int(sys.argv[2]), loop="uvloop",
                http="httptools", access_log=False, log_level="warning")  # fmt: skip
