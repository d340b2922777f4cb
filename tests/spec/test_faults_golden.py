"""Each fault that a person can make: where it is told, and what they are told to type."""

from __future__ import annotations

import pytest

from tests.spec.sample import SAMPLE, problems

FAULTS = [
    # (what stands in the good file, what stands there instead, dotted path, part of what was wanted, part of the mend)
    ("integration: churn", "integraton: churn", "integraton", "a key that is known", "`integration`"),
    ("integration: churn", "integration: Churn 2", "integration", "a name", "write `churn-2`"),
    ("api: 2", "api: two", "api", "a whole number", ""),
    ("api: 2", 'api: "2"', "api", "a whole number", "without quotes: 2"),
    ("api: 2", "api: 2\napi: 3", "api (again)", "each key once", "delete one"),
    ("seats: 40", "seats: 0", "purpose.users.seats", "greater than or equal to 1", "write 40"),
    ("on: 2026-11-01", "on: 2026-13-01", "purpose.agreed_by[0].on", "a date", "year-month-day"),
    ("review: {after: 90d}", "review: {after: 90}", "purpose.review.after", "a duration", "90h for hours"),
    ("  review: {after: 90d}", "  review:", "purpose.review", "a value", "delete the key"),
    ("users: {who: account managers, seats: 40}", "users: [40]", "purpose.users", "a mapping", "the keys are who"),
    ("kind: postgres", "kind: postgress", "sources.crm.kind", "a kind of source", "did you mean `postgres`?"),
    ("url: ${CRM_URL}", "urll: ${CRM_URL}", "sources.crm.urll", "an option of postgres", "did you mean `url`?"),
    ("url: ${CRM_URL}", "schema: public", "sources.crm.url", "the option `url`", "add `url: ${URL}`"),
    ("url: ${CRM_URL}", "url: ${CRM_ADDRESS}", "sources.crm.url", "${CRM_ADDRESS}", "export CRM_ADDRESS="),
    ("url: ${CRM_URL}", "url: ${CRM_URI}", "sources.crm.url", "${CRM_URI}", "did you mean `CRM_URL`?"),
    ("url: ${CRM_URL}", "url: ${file:no/url}", "sources.crm.url", "${file:no/url}", "create it"),
    ("url: ${CRM_URL}", "url: ${CRM-URL}", "sources.crm.url", "${VAR} or ${file:path}", "variable's name"),
    ("url: ${CRM_URL}", "url: postgres://crm:hunter2@db/crm", "sources.crm.url", "without a password", "${URL}"),
    ("timezone: Europe/Berlin", "timezone: Europe/Berln", "sources.crm.timezone", "a time zone", "`Europe/Berlin`"),
    ("connections: 2", "connections: 0", "sources.crm.guard.connections", "greater than or equal to 1", ""),
    ('"20:00-06:00 Eu', '"20:00-26:00 Eu', "sources.crm.guard.backfill_hours", "hours such as", "HH:MM-HH:MM Zone"),
    (
        "source: crm\n    table: customers",
        "source: crn\n    table: customers",
        "datasets.customers.source",
        "a source",
        "`crm`",
    ),
    (
        "key: customer_id\n    cursor",
        "key: customerid\n    cursor",
        "datasets.customers.key",
        "a column",
        "`customer_id`",
    ),
    ("lag: 5m", "lag: five", "datasets.customers.cursor.lag", "a duration", "ms, s, m, h, d"),
    ("deletes: {reconcile", "deletez: {reconcile", "datasets.customers.deletez", "a key that is known", "`deletes`"),
    (
        "deletes: {reconcile: 24h, max_share: 0.2}",
        "deletes: nope",
        "datasets.customers.deletes",
        "none, snapshot",
        "none",
    ),
    (
        "deletes: {reconcile: 24h, max_share: 0.2}",
        "deletes: snapshot",
        "datasets.customers.deletes",
        "cursor",
        "reconcile",
    ),
    ("by: updated_at", "by: updated_a", "datasets.customers.duplicates.by", "that is read", "`updated_at`"),
    ("every: 10s", "every: 10", "datasets.customers.every", "a duration", "10s for seconds"),
    ("every: 10s", "every: 0s", "datasets.customers.every", "above zero", "1s"),
    ("warn: 5m", "warn: 2h", "datasets.customers.freshness.warn", "at most the `fail` of 1h", "swap"),
    ("      tenure:  ", "      ten-ure:  ", "datasets.customers.columns.ten-ure", "a name for SQL", "write `ten_ure`"),
    ("      tier:  ", "      Tenure:  ", "datasets.customers.columns.tenure", "more than their case", "rename"),
    (
        "tenure:          {type: integer",
        "tenure: {type: int",
        "datasets.customers.columns.tenure.type",
        "one of",
        "`integer`",
    ),
    ("min: 0, max: 120", "min: 130, max: 120", "datasets.customers.columns.tenure.min", "at most the max", "swap"),
    ("min: 0, max: 120", "min: low", "datasets.customers.columns.tenure.min", "of type integer", "write 0"),
    ("[Month-to-month,", "[1,", "datasets.customers.columns.contract.values[0]", "of type string", 'quotes: "1"'),
    ("CONTRACT_TYPE", "tenure", "datasets.customers.columns.contract.source_name", "no other is", "keep one"),
    ('"[^@]+@[^@]+"', '"[^@"', "datasets.customers.columns.email.pattern", "a regular expression", "cannot be read"),
    ('"[^@]+@[^@]+"', '"(?=a)b"', "datasets.customers.columns.email.pattern", "RE2", "without `(?=`"),
    ("[trim, ", "[trimm, ", "datasets.customers.columns.total_charges.clean[0]", "one of trim", "did you mean `trim`?"),
    ("{null_if: [0, n/a]}", "{nullif: [0]}", "datasets.customers.columns.email.clean[0].nullif", "known", "`null_if`"),
    (
        '{date: ["%d.%m.%Y"]}',
        "{boolean: {true: [y], false: [n]}}",
        "datasets.customers.columns.joined.clean[0].boolean",
        "boolean",
        "type",
    ),
    (
        "{row_count: {min: 1000}}",
        "{row_count: {min: 1}, on_fail: quarantine}",
        "datasets.customers.checks[0].on_fail",
        "block or warn",
        "block",
    ),
    (
        "{row_count: {min: 1000}}",
        "{row_count: {}}",
        "datasets.customers.checks[0].row_count",
        "`min`, `max`",
        "{min: 1}",
    ),
    ("{unique: email}", "{unique: mail}", "datasets.customers.checks[2].unique", "a column", "did you mean `email`?"),
    (
        "{unique: email}",
        "{unique: [email, mail]}",
        "datasets.customers.checks[2].unique[1]",
        "a column",
        "did you mean `email`?",
    ),
    ("{unique: email}", "{unique: [email]}", "datasets.customers.checks[2].unique", "at least two", "without brackets"),
    (
        "{unique: email}",
        "{length: {column: tenure, max: 2}}",
        "datasets.customers.checks[2].length.column",
        "a length for a column of type string",
        "string",
    ),
    (
        "{unique: email}",
        "{length: {column: email}}",
        "datasets.customers.checks[2].length",
        "`min`, `max` or both",
        "{min: 1}",
    ),
    (
        '"[^@]+@[^@]+"',
        "x, length: {min: 3, max: 2}",
        "datasets.customers.columns.email.length.min",
        "at most the max of 2",
        "swap",
    ),
    (
        "{unique: email}",
        "{unique: email, on_fail: block, max_share: 0.1}",
        "datasets.customers.checks[2].max_share",
        "no share",
        "quarantine or warn",
    ),
    (
        "{row_count: {min: 1000}}",
        "{row_count: {min: 1}, max_share: 0.1}",
        "datasets.customers.checks[0].max_share",
        "a check of rows",
        "delete it",
    ),
    (
        "{unique: email}",
        "{unique: email, max_share: 1}",
        "datasets.customers.checks[2].max_share",
        "less than 1",
        "0.01",
    ),
    (
        "{unique: email}",
        '{sql: "sum(tenure) > 0", over: dataset, on_fail: quarantine}',
        "datasets.customers.checks[2].on_fail",
        "block or warn",
        "block",
    ),
    ("{unique: email}", "{unique: email, over: row}", "datasets.customers.checks[2].over", "`sql` beside", "delete it"),
    (
        "column: tier, dataset: plans",
        "column: tier, dataset: plan",
        "datasets.customers.checks[6].references.dataset",
        "a dataset of this file",
        "did you mean `plans`?",
    ),
    (
        "column: tier, dataset: plans",
        "column: tenure, dataset: plans",
        "datasets.customers.checks[6].references.column",
        "as the key `plan` of plans",
        "same type",
    ),
    (
        "      plan: {type: string}\n",
        "      plan: {type: string}\n    checks: [{references: {column: plan, dataset: customers}}]\n",
        "datasets.plans.checks[0].references.dataset",
        "does not refer back",
        "delete one",
    ),
    (
        "{monotone: joined}",
        "{monotone: email}",
        "datasets.customers.checks[7].monotone",
        "integer or number or timestamp",
        "another column",
    ),
    ("from: lb", "from: lbs", "datasets.customers.columns.weight.clean[0].unit.from", "a unit", "did you mean `lb`?"),
    (
        "to: kg",
        "to: km",
        "datasets.customers.columns.weight.clean[0].unit.to",
        "a unit of mass",
        "convert to one of kg",
    ),
    ("fill: 0", "fill: none", "datasets.customers.columns.weight.fill", "type number", "change"),
    ("fill: 0", "fill: 0, required: true", "datasets.customers.columns.weight.fill", "may be absent", "keep one"),
    (
        "{type: string}\n      tenure",
        "{type: string, fill: x}\n      tenure",
        "datasets.customers.columns.customer_id.fill",
        "no fill",
        "delete it",
    ),
    (
        "maps/regions.csv",
        "maps/region.csv",
        "datasets.customers.columns.region.clean[1].map_file",
        "a CSV file",
        "did you mean `maps/regions.csv`?",
    ),
    (
        "maps/regions.csv",
        "/maps/regions.csv",
        "datasets.customers.columns.region.clean[1].map_file",
        "starts at the folder",
        "relative",
    ),
    ("unicode: NFC", "unicode: NFD", "datasets.customers.columns.region.clean[0].unicode", "one of NFC, NFKC", "NFC"),
    ("country: DE", "country: germany", "datasets.customers.columns.phone.clean[1].phone.country", "two letters", "DE"),
    (
        "languages: [de]",
        "languages: [German]",
        "datasets.customers.columns.country.clean[1].country.languages[0]",
        "a language",
        "de",
    ),
    (
        "{type: string, clean: [country,",
        "{type: json, clean: [country,",
        "datasets.customers.columns.country.clean[0]",
        "a column of type string",
        "change the type",
    ),
    ("{unique: email}", "{volume: {per: dai}}", "datasets.customers.checks[2].volume.per", "hour", "day"),
    (
        "{unique: email}",
        "{volume: {per: day, of: joint}}",
        "datasets.customers.checks[2].volume.of",
        "a column of this dataset",
        "`joined`",
    ),
    (
        "{unique: email}",
        "{volume: {per: day, of: tenure}}",
        "datasets.customers.checks[2].volume.of",
        "timestamp or date",
        "name another",
    ),
    (
        "{unique: email}",
        "{volume: {per: hour, of: joined}}",
        "datasets.customers.checks[2].volume.per",
        "day or week",
        "write day",
    ),
    (
        "{unique: email}",
        "{volume: {per: day, within: 0.5}}",
        "datasets.customers.checks[2].volume.within",
        "a share such as 50%",
        "above zero",
    ),
    (
        "{unique: email}",
        "{volume: {per: day, past: 14}}",
        "datasets.customers.checks[2].volume.past",
        "at least 21",
        "21 or more",
    ),
    (
        "{unique: email}",
        "{volume: {per: week, past: 100}}",
        "datasets.customers.checks[2].volume.past",
        "at most 52",
        "write 8",
    ),
    (
        "{unique: email}",
        "{volume: {per: day, late: 6h}}",
        "datasets.customers.checks[2].volume.late",
        "`of` beside",
        "delete it",
    ),
    (
        "{unique: email}",
        "{volume: {per: day}, on_fail: quarantine}",
        "datasets.customers.checks[2].on_fail",
        "block or warn",
        "write block",
    ),
    (
        "{unique: email}",
        "{volume: {per: day}, max_share: 0.1}",
        "datasets.customers.checks[2].max_share",
        "a check of rows",
        "volume judges the dataset",
    ),
    (
        "{unique: email}",
        "{distribution: {column: tenure, profile: profiles/customers.json, psi: 0}}",
        "datasets.customers.checks[2].distribution.psi",
        "greater than 0",
        "0.2",
    ),
    (
        "{unique: email}",
        "{distribution: {column: tenure, profile: profiles/customers.json}}",
        "datasets.customers.checks[2].distribution.profile",
        "a pinned profile",
        "type `mainstay profile customers --pin`",
    ),
    (
        "{unique: email}",
        "{distribution: {column: tenur, profile: profiles/customers.json}}",
        "datasets.customers.checks[2].distribution.column",
        "a column of this dataset",
        "`tenure`",
    ),
    (
        "{unique: email}",
        "{distribution: {column: tenure, profile: /p.json}}",
        "datasets.customers.checks[2].distribution.profile",
        "starts at the folder",
        "relative",
    ),
    (
        "from: country, to: EUR",
        "from: county, to: EUR",
        "datasets.customers.columns.spent.clean[0].currency.from",
        "a column of this dataset",
        "`country`",
    ),
    (
        "from: country, to: EUR",
        "from: joined, to: EUR",
        "datasets.customers.columns.spent.clean[0].currency.from",
        "a column of type string",
        "name another",
    ),
    (
        "from: country, to: EUR",
        "from: country, to: eur",
        "datasets.customers.columns.spent.clean[0].currency.to",
        "",
        "EUR",
    ),
    (
        "at: joined, max",
        "at: tenure, max",
        "datasets.customers.columns.spent.clean[0].currency.at",
        "a column of type date or timestamp",
        "name another",
    ),
    ("max_age: 3d", "max_age: 36h", "datasets.customers.columns.spent.clean[0].currency.max_age", "whole days", "7d"),
    (
        "rates: fx,",
        "rates: fy,",
        "datasets.customers.columns.spent.clean[0].currency.rates",
        "a dataset of this file",
        "customers, fx, plans",
    ),
    (
        "rates: fx,",
        "rates: plans,",
        "datasets.customers.columns.spent.clean[0].currency.rates",
        "the columns currency, date and rate",
        "add them to the columns of plans",
    ),
    (
        "rates: fx,",
        "rates: customers,",
        "datasets.customers.columns.spent.clean[0].currency.rates",
        "a dataset that does not need this one",
        "of their own",
    ),
    (
        "max_age: 3d}}]",
        "max_age: 3d}}, trim]",
        "datasets.customers.columns.spent.clean[0].currency",
        "the last step",
        "to the end",
    ),
    (
        "spent:           {type: number",
        "spent:           {type: integer",
        "datasets.customers.columns.spent.clean[0].currency",
        "a column of type number",
        "change the type",
    ),
    ("max_age: 3d}}]", "max_age: 3d}}], fill: 0", "datasets.customers.columns.spent.fill", "no `fill`", "delete it"),
    ("{unique: email}", "{on_fail: warn}", "datasets.customers.checks[2]", "one check", "row_count"),
    (
        "{unique: email}",
        "{unique: email, name: tenure.min}",
        "datasets.customers.checks[2].name",
        "each check",
        "rename",
    ),
    (
        "from: {customers:",
        "from: {customer:",
        "features.customer.from.customer",
        "a dataset",
        "did you mean `customers`?",
    ),
    (
        "sql: features/customer.sql",
        "sql: features/customers.sql",
        "features.customer.sql",
        "a file of SQL",
        "features/customer.sql",
    ),
    (
        "sql: features/customer.sql",
        "sql: /etc/customer.sql",
        "features.customer.sql",
        "starts at the folder",
        "relative",
    ),
    ("  input: customer", "  input: custmer", "model.input", "a feature view", "did you mean `customer`?"),
    (
        "  input: customer",
        "  input: [customer, custmer]",
        "model.input[1]",
        "a feature view",
        "did you mean `customer`?",
    ),
    ("  input: customer", "  input: [customer, customer]", "model.input", "several different ones", "[first, second]"),
    ("  input: customer", "  input: []", "model.input", "a feature view, or several", "[first, second]"),
    ("  input: customer", "  input: [7]", "model.input", "a feature view's name, or a list", ""),
    ("  name: churn\n", "", "model.name", "the key `name`", "add `name: churn`"),
    ("  timeout: 500ms", "  rule: {x: a + b}", "model.rule", "one model", "delete one"),
    (
        "  timeout: 500ms",
        "  pre: [{clip: {of: a, min: 2}, log1p: {of: a}}]",
        "model.pre[0]",
        "one step",
        "write an entry for each",
    ),
    (
        "  timeout: 500ms",
        "  pre: [{clp: {of: a}}]",
        "model.pre[0].clp",
        "a key that is known here",
        "did you mean `clip`?",
    ),
    ("  timeout: 500ms", "  pre: [{clip: {of: a}}]", "model.pre[0].clip", "`min`, `max` or both", "say"),
    ("  timeout: 500ms", "  pre: [{clip: {of: a, min: 2, max: 1}}]", "model.pre[0].clip.min", "max of 1", "swap"),
    ("  timeout: 500ms", "  pre: [{scale: {of: a}}]", "model.pre[0].scale", "`by` and `add`, or", "one of the two"),
    ("  timeout: 500ms", "  pre: [{scale: {of: a, by: 2, std: 1}}]", "model.pre[0].scale", "`by` and `add`", "one of"),
    ("  timeout: 500ms", "  pre: [{scale: {of: a, mean: 1}}]", "model.pre[0].scale", "a `std`", "std: 30.1"),
    ("  timeout: 500ms", "  pre: [{scale: {of: a, std: 0}}]", "model.pre[0].scale.std", "greater than 0", ""),
    ("  timeout: 500ms", "  pre: [{scale: {of: a, by: 0}}]", "model.pre[0].scale.by", "other than 0", "leave"),
    (
        "  timeout: 500ms",
        "  pre: [{bin: {of: a, edges: [2, 2]}}]",
        "model.pre[0].bin.edges[1]",
        "an edge above 2",
        "order",
    ),
    (
        "  timeout: 500ms",
        "  pre: [{bin: {of: a, edges: [1, 2], labels: [x, y]}}]",
        "model.pre[0].bin.labels",
        "3 labels for 2 edges",
        "one for below",
    ),
    (
        "  timeout: 500ms",
        "  pre: [{map: {of: a, values: {x: 1}, otherwise: none}}]",
        "model.pre[0].map",
        "values of one type",
        "texts, numbers or truths",
    ),
    (
        "  timeout: 500ms",
        "  pre: [{impute: {a: median}}]",
        "model.pre[0].impute.a",
        "a value, for the model stands in the file",
        "mainstay model add",
    ),
    (
        "  timeout: 500ms",
        "  post: [{scale: {by: 2}, words: {words: {a: b}}}]",
        "model.post[0]",
        "one step",
        "write an entry for each",
    ),
    (
        "  timeout: 500ms",
        "  post: [{scal: {by: 2}}]",
        "model.post[0].scal",
        "a key that is known here",
        "did you mean `scale`?",
    ),
    (
        "  timeout: 500ms",
        "  post: [{scale: {min: 2, max: 1}}]",
        "model.post[0].scale.min",
        "at most the max of 1",
        "swap",
    ),
    ("  timeout: 500ms", "  post: [{scale: {by: 0}}]", "model.post[0].scale.by", "other than 0", "constant"),
    (
        "  timeout: 500ms",
        "  post: [{calibrate: {of: x}}]",
        "model.post[0].calibrate",
        "`platt` or `isotonic`",
        "one of the two",
    ),
    (
        "  timeout: 500ms",
        "  post: [{calibrate: {isotonic: [[0.5, 0.1], [0.4, 0.2]]}}]",
        "model.post[0].calibrate.isotonic[1]",
        "a point after [0.5, 0.1]",
        "order the points",
    ),
    (
        "  timeout: 500ms",
        "  post: [{calibrate: {isotonic: [[0.5, 0.1], [0.6, 2]]}}]",
        "model.post[0].calibrate.isotonic[1]",
        "a probability",
        "between 0 and 1",
    ),
    (
        "  timeout: 500ms",
        "  post: [{calibrate: {isotonic: [[0.5, 0.1, 3], [0.6, 1]]}}]",
        "model.post[0].calibrate.isotonic[0]",
        "a point [x, y]",
        "[0.5, 0.42]",
    ),
    (
        "  timeout: 500ms",
        "  post: [{threshold: {at: 1, above: high, below: 2}}]",
        "model.post[0].threshold.below",
        "a value like 'high'",
        "two texts",
    ),
    (
        "  timeout: 500ms",
        "  post: [{threshold: {above: high, below: low}}]",
        "model.post[0].threshold.at",
        "the key `at`",
        "add `at: 0.5`",
    ),
    (
        "  timeout: 500ms",
        "  post: [{top: {of: [a, a], as: b}}]",
        "model.post[0].top.of[1]",
        "an output once",
        "delete it",
    ),
    (
        "  timeout: 500ms",
        "  post: [{top: {of: [a, b], take: 3, as: c}}]",
        "model.post[0].top.take",
        "at most the 2",
        "write 2",
    ),
    (
        "outputs: {churn_probability: {unit",
        "outputs: {churn: {unit",
        "model.outputs.churn",
        "an output",
        "there is: churn_probability, risk",
    ),
    (
        "constant: {churn_probability: 0.26",
        "constant: {churn_probability: 1.26",
        "model.constant.churn_probability",
        "range",
        "change",
    ),
    ("on_error: fallback", "on_missing: flag", "answer.on_missing", "refuse", ""),
    ("on_error: fallback", "on_eror: fallback", "answer.on_eror", "a key that is known", "did you mean `on_error`?"),
    (
        "fallback: {churn_probability: 0.26, risk: low, reason: base rate}\n",
        "",
        "answer.on_error",
        "a `fallback:`",
        "add `fallback:",
    ),
    (
        "fallback: {churn_probability: 0.26, risk: low",
        "fallback: {churn_probability: 0.26",
        "fallback.risk",
        "each output",
        "add `risk:",
    ),
    (
        "fallback: {churn_probability",
        "fallback: {churn_probabilty",
        "fallback.churn_probabilty",
        "an output",
        "`churn_probability`",
    ),
    ("settings: {durability: power", "settings: {durability: powr", "settings.durability", "one of process", "`power`"),
    (
        "retention: {landing: 30d}",
        "retention: {landings: 30d}",
        "retention.landings",
        "known",
        "did you mean `landing`?",
    ),
    ("owner: crm-team@example.com", "owner: ${OWNER}", "datasets.customers.owner", "only under `sources:`", "itself"),
    ("owner: crm-team@example.com", "owner: !env OWNER", "datasets.customers.owner", "a plain value", "delete the tag"),
    ("owner: crm-team@example.com", "owner: 7", "datasets.customers.owner", "a text", 'quotes: "7"'),
    ("table: customers\n", "table: customers\n\tkey: x\n", "the file", "YAML", "spaces: YAML forbids tabs"),
    (
        "    kind: postgres\n    url: ${CRM_URL}",
        "    more: {kind: postgres, url: ${CRM_URL}}",
        "the file",
        "YAML",
        "quote placeholders",
    ),
    ('"http://[::1]:8080"', "'*'", "card.origins[1]", "the origin of a page", "no path, no *"),
    ('"http://[::1]:8080"', "crm.example.com", "card.origins[1]", "the origin of a page", "scheme and host"),
    ('"http://[::1]:8080"', '"https://crm.example.com/app"', "card.origins[1]", "the origin of a page", "no path"),
    ("card: {origins", "card: {origin", "card.origin", "a key that is known", "`origins`"),
    ("problem: Account", "problem: now: Account", "the file", "YAML", "in quotes"),
]

ELSEWHERE: dict[str, str | tuple[str, ...]] = {
    # What is absent is told at the key that should hold it; what clashes, at each of the two.
    "sources.crm.url": ("crm:", "url:"),
    "model.name": "model:",
    "fallback.risk": "fallback:",
    "answer.on_error": "answer:",
    "datasets.customers.columns.tenure": "tenure:",
}


def test_the_good_file_has_no_fault() -> None:
    assert problems(SAMPLE) == ()


@pytest.mark.parametrize(
    ("good", "bad", "path", "wanted", "mend"), FAULTS, ids=[f"{case[2]}: {case[1]}" for case in FAULTS]
)
def test_a_fault_is_located_and_says_what_to_type(good: str, bad: str, path: str, wanted: str, mend: str) -> None:
    assert SAMPLE.count(good) >= 1
    before, after = SAMPLE.split(good, 1)
    text = before + bad + after
    first = before.count("\n") + 1
    last = first + bad.count("\n")

    found = {problem.path: problem for problem in problems(text)}

    assert path in found, found
    assert wanted in found[path].wanted
    assert mend in found[path].mend
    if path in ELSEWHERE:
        assert text.splitlines()[found[path].line - 1].lstrip().startswith(ELSEWHERE[path])
    else:
        assert first <= found[path].line <= last
    assert found[path].column >= 1


def test_of_a_type_that_there_is_not_nothing_else_is_told() -> None:
    found = problems(SAMPLE.replace("tenure:          {type: integer", "tenure:          {type: integr", 1))
    assert [(problem.path, problem.mend) for problem in found] == [
        ("datasets.customers.columns.tenure.type", "did you mean `integer`?")
    ]


def test_every_fault_is_told_at_once_in_file_order() -> None:
    text = SAMPLE
    for good, bad in (
        ("api: 2", "api: two"),
        ("kind: postgres", "kind: postgrs"),
        ("every: 10s", "every: 10"),
        ("from: {customers:", "from: {custmers:"),
        ("on_error: fallback", "on_eror: fallback"),
    ):
        text = text.replace(good, bad, 1)
    found = problems(text)
    assert [problem.path for problem in found] == [
        "api",
        "sources.crm.kind",
        "datasets.customers.every",
        "features.customer.from.custmers",
        "answer.on_eror",
    ]
    assert [problem.line for problem in found] == sorted(problem.line for problem in found)
    assert str(found[0]).startswith("mainstay.yaml:2:6: api: wanted a whole number, found 'two'")
