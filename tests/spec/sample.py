"""A file that is right, and the options records that it is read with."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from mainstay import spec
from mainstay.core.errors import FileError, Problem
from mainstay.core.nouns import Integration


class Postgres(msgspec.Struct, frozen=True, kw_only=True):
    url: str
    schema: str = "public"
    sslmode: Literal["require", "disable"] = "require"
    port: int = 5432
    password: str = ""


class Sqlite(msgspec.Struct, frozen=True, kw_only=True):
    path: str

    def __post_init__(self) -> None:
        if not self.path.endswith(".db"):
            raise ValueError(f"{self.path} does not end in .db")


KINDS: dict[str, type[msgspec.Struct]] = {"postgres": Postgres, "sqlite": Sqlite}
ENV = {"CRM_URL": "postgresql://crm:hunter2@db/crm"}
SQL = "SELECT customer_id, tenure FROM customers"

REGIONS = "old,new\nN,north\n?,\n"

SAMPLE = """\
integration: churn
api: 2
purpose:
  problem: Account managers learn that a customer has left after the fact.
  workflow: The risk stands on the CRM account page.
  users: {who: account managers, seats: 40}
  kpis: [{name: customers kept a month, unit: customers, baseline: 31, target: 45, source: crm}]
  agreed_by: [{role: head of retention, on: 2026-11-01}]
  review: {after: 90d}
sources:
  crm:
    kind: postgres
    url: ${CRM_URL}
    timezone: Europe/Berlin
    guard: {connections: 2, statement_timeout: 5s, backfill_hours: "20:00-06:00 Europe/Berlin"}
datasets:
  customers:
    source: crm
    table: customers
    key: customer_id
    cursor: {column: updated_at, lag: 5m}
    deletes: {reconcile: 24h, max_share: 0.2}
    duplicates: {keep: last, by: updated_at}
    every: 10s
    owner: crm-team@example.com
    freshness: {warn: 5m, fail: 1h, newest: 1d}
    columns:
      customer_id:     {type: string}
      tenure:          {type: integer, min: 0, max: 120}
      total_charges:   {type: number, clean: [trim, blank_to_null, {number: {decimal: ","}}], min: 0, on_fail: warn}
      contract:        {type: string, values: [Month-to-month, One year, Two year], source_name: CONTRACT_TYPE}
      joined:          {type: date, clean: [{date: ["%d.%m.%Y"]}], min: 2001-01-01}
      email:           {type: string, pattern: "[^@]+@[^@]+", unique: true, pii: true, clean: [{null_if: [0, n/a]}]}
      active:          {type: boolean, clean: [{boolean: {true: [yes, 1], false: [no, 0]}}]}
      tier:            {type: string, clean: [{map: {g: gold, "?": null}}]}
      weight:          {type: number, clean: [{unit: {from: lb, to: kg}}], fill: 0}
      region:          {type: string, clean: [{unicode: NFC}, {map_file: maps/regions.csv}]}
      country:         {type: string, clean: [country, {country: {languages: [de]}}]}
      spent:           {type: number, clean: [{currency: {from: country, to: EUR, rates: fx, at: joined, max_age: 3d}}]}
      phone:           {type: string, clean: [email, {phone: {country: DE}}]}
    checks:
      - {row_count: {min: 1000}}
      - {sql: tenure <= total_charges, name: tenure.min, on_fail: warn}
      - {unique: email}
      - {unique: [email, tier]}
      - {length: {column: email, min: 3}, max_share: 0.01}
      - {sql: "sum(tenure) > 0", over: dataset}
      - {references: {column: tier, dataset: plans}}
      - {monotone: joined}
      - {volume: {per: day, of: joined, within: 50%, late: 6h}}
  plans:
    source: crm
    table: plans
    key: plan
    columns:
      plan: {type: string}
  fx:
    source: crm
    table: fx
    key: id
    columns: {id: {type: string}, currency: {type: string}, date: {type: date}, rate: {type: number}}
features:
  customer:
    key: customer_id
    from: {customers: customer_id, plans: all}
    sql: features/customer.sql
    refresh: 1h
model:
  name: churn
  input: customer
  constant: {churn_probability: 0.26, risk: low}
  outputs: {churn_probability: {unit: probability, min: 0, max: 1}}
  request_inputs: {discount: {type: number, required: true}}
  timeout: 500ms
answer: {on_warn: flag, on_error: fallback}
fallback: {churn_probability: 0.26, risk: low, reason: base rate}
settings: {durability: power, workers: 2, tls: {certificate: a.pem, key: a.key, client_ca: ca.pem, clients: optional}}
card: {origins: ["https://CRM.example.com:443/", "http://[::1]:8080"]}
cors: {origins: ["https://APP.example.com/"]}
callers:
  certificates:
    - {name: billing, subject: "CN=billing,O=Acme", role: operate, rate: 100/s}
    - {name: crm, san: "DNS:crm.example.com"}
  oidc:
    - name: entra
      issuer: https://login.example.com/acme
      audience: [mainstay, churn]
      algorithms: [ES256, EdDSA]
      roles: {claim: roles, values: {ops: operate}}
      scopes: [churn]
      skew: 5s
    - {name: own, issuer: "http://127.0.0.1:9000", audience: mainstay, jwks_url: "https://keys.example.co", role: admin}
retention: {landing: 30d}
"""


def load(text: str = SAMPLE, *, folder: Path = Path("/nowhere"), env: dict[str, str] | None = None) -> Integration:
    """The integration that the text says; its SQL is there."""
    files = {"mainstay.yaml": text, "features/customer.sql": SQL, "maps/regions.csv": REGIONS}
    return spec.load_files(files, folder, kinds=KINDS, env=ENV if env is None else env)


def problems(text: str, *, env: dict[str, str] | None = None) -> tuple[Problem, ...]:
    """What is wrong with the text; empty when nothing is."""
    try:
        load(text, env=env)
    except FileError as error:
        return error.problems
    return ()
