"""What a data scientist hands over: two scikit-learn pipelines, trained on a dump of the CRM.

    python train.py telco-customer-churn.csv OUT

Knows nothing of Mainstay. Writes into OUT:
    boosting.joblib  one-hot, scaling and gradient boosting
    native.joblib    HistGradientBoosting, which takes categories as they are
    example.csv      200 training rows: types and categories
    lab.csv          what both say of every customer here in the lab
Prints one line of JSON: rows, share that left, AUC of both on customers that they had not seen.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import joblib
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

# The dump's headings, and the names of the CRM's columns: those are what Mainstay reads.
COLUMNS = {
    "customerID": "customer_id", "gender": "gender", "SeniorCitizen": "senior_citizen", "Partner": "partner",
    "Dependents": "dependents", "tenure": "tenure", "PhoneService": "phone_service", "MultipleLines": "multiple_lines",
    "InternetService": "internet_service", "OnlineSecurity": "online_security", "OnlineBackup": "online_backup",
    "DeviceProtection": "device_protection", "TechSupport": "tech_support", "StreamingTV": "streaming_tv",
    "StreamingMovies": "streaming_movies", "Contract": "contract", "PaperlessBilling": "paperless_billing",
    "PaymentMethod": "payment_method", "MonthlyCharges": "monthly_charges", "TotalCharges": "total_charges",
    "Churn": "churn",
}  # fmt: skip
NUMBERS = ["senior_citizen", "tenure", "monthly_charges", "total_charges"]
WORDS = [name for name in COLUMNS.values() if name not in {*NUMBERS, "customer_id", "churn"}]


def read(dump: str) -> pd.DataFrame:
    """The dump as a table; 11 customers have a blank where their total charges should be."""
    table = pd.read_csv(dump).rename(columns=COLUMNS).set_index("customer_id")
    table["total_charges"] = pd.to_numeric(table["total_charges"], errors="coerce")
    return table


def boosting() -> Pipeline:
    numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    prepare = ColumnTransformer(
        [("numbers", numbers, NUMBERS), ("words", OneHotEncoder(handle_unknown="ignore"), WORDS)]
    )
    return Pipeline([("prepare", prepare), ("model", GradientBoostingClassifier(n_estimators=60, random_state=0))])


def native() -> HistGradientBoostingClassifier:
    return HistGradientBoostingClassifier(categorical_features="from_dtype", max_iter=60, random_state=0)


def main(dump: str, out: str) -> None:
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    table = read(dump)
    label = table.pop("churn")
    as_categories = table.astype(dict.fromkeys(WORDS, "category"))
    told = {"rows": len(table), "left": round(float((label == "Yes").mean()), 3)}
    lab = pd.DataFrame(index=table.index)
    for name, make, rows in (("boosting", boosting, table), ("native", native, as_categories)):
        seen, unseen, seen_label, unseen_label = train_test_split(rows, label, test_size=0.25, random_state=0)
        told[f"{name}_auc"] = round(
            roc_auc_score(unseen_label == "Yes", make().fit(seen, seen_label).predict_proba(unseen)[:, 1]), 3
        )
        model = make().fit(rows, label)
        joblib.dump(model, folder / f"{name}.joblib")
        lab[name] = model.predict_proba(rows)[:, 1]
    table.head(200).to_csv(folder / "example.csv", index=False)
    lab.to_csv(folder / "lab.csv", float_format="%.17g")
    print(json.dumps(told))


if __name__ == "__main__":
    main(*sys.argv[1:])
