"""What a data scientist hands over: a scikit-learn pipeline, trained on a dump of the CRM.

    python train.py CRM_URL MODEL.joblib EXAMPLE.csv

Knows nothing of Mainstay. Prints one line of JSON: rows, share that left, AUC on customers it had not seen.
"""

from __future__ import annotations

import json
import sys

import joblib
import pandas as pd
import psycopg
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder

NUMBERS = ["tenure_months", "signup_year", "monthly_charges", "has_end", "tickets", "severe_tickets", "satisfaction"]
WORDS = ["region", "contract", "payment_method"]
FEATURES = [
    "tenure_months", "signup_year", "region", "contract", "payment_method", "monthly_charges", "has_end",
    "tickets", "severe_tickets", "satisfaction",
]  # fmt: skip


def words(column: pd.Series) -> pd.Series:
    """Trimmed, in lower case, blanks and N/A as unknown."""
    text = column.astype("string").str.strip()
    return text.mask(text.isin(["", "N/A"])).str.lower().fillna("unknown").astype(object)


def dates(column: pd.Series) -> pd.Series:
    """The CRM writes 2019-03-31, 31.03.2019 and 03/31/2019."""
    parsed = [pd.to_datetime(column, format=form, errors="coerce") for form in ("%Y-%m-%d", "%d.%m.%Y", "%m/%d/%Y")]
    return parsed[0].fillna(parsed[1]).fillna(parsed[2])


def features(customers: pd.DataFrame, subscriptions: pd.DataFrame, tickets: pd.DataFrame) -> pd.DataFrame:
    """One row per customer, FEATURES in order."""
    customers = customers.sort_values("updated_at").drop_duplicates("customer_id", keep="last").set_index("customer_id")
    subscriptions = subscriptions.set_index("customer_id").reindex(customers.index)
    charges = pd.to_numeric(subscriptions["monthly_charges"])
    ends = subscriptions["ends_on"].astype("string")
    live = tickets[tickets["deleted_at"].isna()]
    satisfaction = pd.to_numeric(live["satisfaction"]).replace(-1, float("nan"))
    by_customer = live.assign(satisfaction=satisfaction, severe=live["severity"] >= 3).groupby("customer_id")
    table = pd.DataFrame(index=customers.index)
    table["tenure_months"] = customers["tenure_months"].replace(-1, float("nan"))
    table["signup_year"] = dates(customers["signed_up"]).dt.year
    table["region"] = words(customers["region"])
    table["contract"] = words(subscriptions["contract"])
    table["payment_method"] = words(subscriptions["payment_method"])
    table["monthly_charges"] = charges.replace(-1, float("nan"))
    table["has_end"] = (ends.notna() & (ends != "9999-12-31")).astype(float)
    table["tickets"] = by_customer.size().reindex(table.index).fillna(0)
    table["severe_tickets"] = by_customer["severe"].sum().reindex(table.index).fillna(0)
    table["satisfaction"] = by_customer["satisfaction"].mean().reindex(table.index)
    return table.astype(dict.fromkeys(NUMBERS, float))[FEATURES]


def pipeline() -> Pipeline:
    prepare = ColumnTransformer(
        [
            ("numbers", SimpleImputer(strategy="median"), NUMBERS),
            ("words", OneHotEncoder(handle_unknown="ignore"), WORDS),
        ]
    )
    return Pipeline(
        [
            ("prepare", prepare),
            ("model", GradientBoostingClassifier(n_estimators=80, max_depth=2, random_state=0)),
        ]
    )


def main(url: str, model_file: str, example_file: str) -> None:
    with psycopg.connect(url) as crm:
        tables = {}
        for name in ("customers", "subscriptions", "tickets", "churn_history"):
            cursor = crm.execute(f"SELECT * FROM {name}")
            tables[name] = pd.DataFrame(cursor.fetchall(), columns=[column.name for column in cursor.description])
    table = features(tables["customers"], tables["subscriptions"], tables["tickets"])
    label = tables["churn_history"].set_index("customer_id")["churned"].reindex(table.index)
    table, label = table[label.notna()], label[label.notna()]
    seen, unseen, seen_label, unseen_label = train_test_split(table, label, test_size=0.25, random_state=0)
    auc = roc_auc_score(unseen_label == "Yes", pipeline().fit(seen, seen_label).predict_proba(unseen)[:, 1])
    model = pipeline().fit(table, label)
    joblib.dump(model, model_file)
    table.head(200).to_csv(example_file)
    print(json.dumps({"rows": len(table), "left": round(float((label == "Yes").mean()), 3), "auc": round(auc, 3)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
