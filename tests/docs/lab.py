"""What a data scientist hands over: a scikit-learn pipeline trained on rows such as the CRM of the pages has."""

from __future__ import annotations

from pathlib import Path


def train(folder: Path) -> None:
    """Writes churn.joblib and example.csv into `folder`."""
    import joblib
    import pandas as pd
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
    joblib.dump(make_pipeline(words, LogisticRegression(max_iter=5000)).fit(rows, left), folder / "churn.joblib")
    rows.head(20).to_csv(folder / "example.csv", index=False)
