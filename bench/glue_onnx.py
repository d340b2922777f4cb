"""What people write by hand: FastAPI and uvicorn around an ONNX model, and nothing else."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import uvicorn
from fastapi import FastAPI
from pydantic import create_model


def build(folder: Path) -> FastAPI:
    columns: dict[str, str] = json.loads((folder / "columns.json").read_text())
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        (folder / "model.onnx").read_bytes(), settings, providers=["CPUExecutionProvider"]
    )
    types: dict[str, Any] = {name: (str if kind == "string" else float, ...) for name, kind in columns.items()}
    row_type: Any = create_model("Row", **types)
    kinds = {name: object if kind == "string" else np.float32 for name, kind in columns.items()}
    app = FastAPI()

    async def predict(row: row_type) -> dict[str, float]:
        feed = {name: np.array([[getattr(row, name)]], dtype=kind) for name, kind in kinds.items()}
        return {"churn_probability": float(session.run(["probabilities"], feed)[0][0, 1])}

    # Annotations are text here, and FastAPI would look the type up in this module.
    predict.__annotations__["row"] = row_type
    app.post("/predict")(predict)
    return app


if __name__ == "__main__":
    uvicorn.run(
        build(Path(sys.argv[1])),
        host="127.0.0.1",
        port=int(sys.argv[2]),
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
    )
