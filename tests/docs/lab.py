"""What a data scientist hands over: a scikit-learn pipeline trained on rows such as the CRM of the pages has."""

from __future__ import annotations

from pathlib import Path


def train(folder: Path) -> None:
    """Writes churn.joblib, the same as churn.onnx, and example.csv into `folder`; churn.ubj eats its two numbers."""
    import joblib
    import pandas as pd
    import xgboost
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType, StringTensorType
    from sklearn.compose import make_column_transformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    folder.mkdir()
    contracts = ["Month-to-month", "One year", "Two year"]
    rows = pd.DataFrame(
        {
            "tenure": [float(n % 73) for n in range(300)],
            "total_charges": [n % 73 * 55.5 for n in range(300)],
            "contract": [contracts[n % 3] for n in range(300)],
        }
    )
    left = ["Yes" if (n % 73) + 20 * (n % 3) < 30 else "No" for n in range(300)]
    words = make_column_transformer((OneHotEncoder(), ["contract"]), remainder="passthrough")
    pipeline = make_pipeline(words, LogisticRegression(max_iter=5000)).fit(rows, left)
    joblib.dump(pipeline, folder / "churn.joblib")
    inputs = [
        (name, StringTensorType([None, 1]) if name == "contract" else FloatTensorType([None, 1])) for name in rows
    ]
    graph = convert_sklearn(pipeline, initial_types=inputs, options={"zipmap": False})
    (folder / "churn.onnx").write_bytes(graph.SerializeToString())
    trees = xgboost.XGBClassifier(n_estimators=5, n_jobs=1).fit(
        rows[["tenure", "total_charges"]], [one == "Yes" for one in left]
    )
    trees.save_model(folder / "churn.ubj")
    rows.head(20).to_csv(folder / "example.csv", index=False)
