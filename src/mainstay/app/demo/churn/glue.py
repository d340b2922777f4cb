"""The glue that people write today: 40 lines of FastAPI in front of a model, reading its own copy of the CRM.

    GLUE_COPY=copy.db GLUE_MODEL=model.joblib uvicorn glue:app

Not a straw man: it uses the data scientist's own feature code on rows that a cron job copies every second.
"""

import os
import sqlite3

import joblib
import pandas as pd
from fastapi import FastAPI, HTTPException
from train import FEATURES, features

app = FastAPI()
model = joblib.load(os.environ["GLUE_MODEL"])


@app.get("/churn/{customer_id}")
def churn(customer_id: str) -> dict[str, float | str]:
    with sqlite3.connect(os.environ["GLUE_COPY"]) as copy:
        tables = {}
        for name in ("customers", "subscriptions", "tickets"):
            query = f"SELECT * FROM {name} WHERE customer_id = ?"
            tables[name] = pd.read_sql(query, copy, params=(customer_id,))
    if tables["customers"].empty:
        raise HTTPException(404, "no such customer")
    if "monthly_charges" not in tables["subscriptions"]:
        tables["subscriptions"]["monthly_charges"] = None
    row = features(**tables)
    probability = model.predict_proba(row[FEATURES])[0, 1]
    return {"customer": customer_id, "churn_probability": float(probability)}
