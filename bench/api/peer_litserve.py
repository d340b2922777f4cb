"""LitServe around LightGBM. argv: folder, port."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import lightgbm
import litserve
import numpy as np


class Churn(litserve.LitAPI):
    def setup(self, device: Any) -> None:
        del device
        self.booster = lightgbm.Booster(model_file=str(Path(sys.argv[1], "model.txt")))

    def decode_request(self, request):  # noqa: ANN001, ANN201 - LitServe looks at annotations
        return request["row"]

    def predict(self, row: Any) -> float:
        return float(self.booster.predict(np.array([row]), num_threads=1)[0])

    def encode_response(self, found: float) -> Any:
        return {"p": found}


if __name__ == "__main__":
    server = litserve.LitServer(Churn(), accelerator="cpu")
    server.run(host="127.0.0.1", port=int(sys.argv[2]), generate_client_file=False, log_level="warning")
