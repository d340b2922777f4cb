"""A model.py to begin with: what `mainstay new model DIR` writes."""

from __future__ import annotations

from pathlib import Path

from mainstay.core.errors import Refused

MODEL = '''"""A model of your own. It runs in your own interpreter, in a process beside Mainstay.

    mainstay model add THIS_FOLDER --python path/to/venv/bin/python

The whole folder is the artifact: put weights and modules beside this file. Nothing else of your machine is part of it.
"""

import json
from pathlib import Path


class Model:
    # What `predict` is given: a pandas DataFrame with these columns, in this order. Types: string, integer, number,
    # boolean, timestamp; a list of texts is a category. Of these only string, number, timestamp and categories may be
    # null. The names are those of your feature SQL.
    inputs = {
        "contract": ["Month-to-month", "One year", "Two year"],
        "tenure": "number",
    }

    # What `predict` gives, by name. Types: string, integer, number, boolean.
    outputs = {
        "churn_probability": {"type": "number", "unit": "probability"},
    }

    def load(self, path):
        """Called once, before the first row. `path` is this folder; it may not be written to elsewhere."""
        self.weights = json.loads((Path(path) / "weights.json").read_text())

    def predict(self, frame):
        """One value for each row, in order: a DataFrame, or a dict of columns, with the names of `outputs`.

        The same row must give the same answer: no clock, no chance, no network. What is raised here is the answer's
        error, told without the row's values.
        """
        base = frame["contract"].astype("object").map(self.weights["contract"]).fillna(self.weights["other"])
        months = frame["tenure"].fillna(0).clip(0, 72)
        return {"churn_probability": base * (1 - months / 100)}
'''

WEIGHTS = """{
  "contract": {"Month-to-month": 0.45, "One year": 0.15, "Two year": 0.05},
  "other": 0.26
}
"""


def write_template(folder: Path) -> tuple[Path, ...]:
    """Writes model.py and weights.json. Raises Refused where one of them stands already; nothing is written then."""
    files = {folder / "model.py": MODEL, folder / "weights.json": WEIGHTS}
    for path in files:
        if path.exists():
            raise Refused(f"{path.name} stands there already", where=str(folder), mend="give an empty folder")
    folder.mkdir(parents=True, exist_ok=True)
    for path, text in files.items():
        path.write_text(text)
    return tuple(files)
