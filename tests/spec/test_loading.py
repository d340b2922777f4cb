from __future__ import annotations

from pathlib import Path

import pytest

from mainstay import spec
from mainstay.core.clock import DAY, HOUR, MINUTE, SECOND, iso
from mainstay.core.errors import FileError
from mainstay.core.nouns import Cleaning, Deletes, Fallback, Limits
from mainstay.core.nouns_callers import CertificateCaller, ClaimedRoles, OidcIssuer, Tls
from mainstay.core.rate import Rate
from mainstay.spec import map_files
from tests.spec.sample import ENV, KINDS, REGIONS, SAMPLE, SQL, load, problems


def test_the_sample_arrives_whole() -> None:
    churn = load()
    customers = churn.datasets["customers"]

    assert (churn.name, churn.api, churn.folder) == ("churn", 2, "/nowhere")
    assert churn.purpose.kpis[0].baseline == 31
    assert churn.purpose.agreed_by == (("head of retention", "2026-11-01"),)
    assert churn.purpose.review_after_us == 90 * DAY
    assert churn.sources["crm"].options == {"url": ENV["CRM_URL"]}
    assert churn.sources["crm"].guard.statement_timeout_us == 5 * SECOND
    assert customers.cursor is not None
    assert customers.cursor.lag_us == 5 * MINUTE
    assert customers.deletes == Deletes(kind="reconcile", every_us=DAY, max_share=0.2)
    assert churn.datasets["plans"].deletes.kind == "snapshot"
    assert churn.datasets["plans"].every_us == MINUTE
    assert customers.freshness.fail_us == HOUR
    assert customers.column("contract").source_name == "CONTRACT_TYPE"
    assert customers.column("customer_id").required
    assert churn.features["customer"].sql == SQL
    assert churn.features["customer"].path == "features/customer.sql"
    assert churn.model.inline is not None
    assert [(field.name, field.type) for field in churn.model.inline.outputs] == [
        ("churn_probability", "number"),
        ("risk", "string"),
    ]
    assert churn.model.inline.outputs[0].maximum == 1
    assert churn.model.request_inputs[0].required
    assert churn.model.request_inputs[0].limits is None
    assert churn.model.timeout_us == 500_000
    assert churn.fallback == Fallback(values={"churn_probability": 0.26, "risk": "low"}, reason="base rate")
    assert churn.card.origins == ("https://crm.example.com", "http://[::1]:8080")
    assert churn.cors.origins == ("https://app.example.com",)
    assert churn.settings.tls == Tls(certificate="a.pem", key="a.key", client_ca="ca.pem", clients="optional")
    assert churn.callers.certificates == (
        CertificateCaller(name="billing", subject="CN=billing,O=Acme", role="operate", rate=Rate(100, SECOND)),
        CertificateCaller(name="crm", san="DNS:crm.example.com"),
    )
    assert churn.callers.oidc == (
        OidcIssuer(
            name="entra",
            issuer="https://login.example.com/acme",
            audience=("mainstay", "churn"),
            algorithms=("ES256", "EdDSA"),
            roles=ClaimedRoles(claim="roles", values={"ops": "operate"}),
            scopes=("churn",),
            skew_us=5 * SECOND,
        ),
        OidcIssuer(
            name="own",
            issuer="http://127.0.0.1:9000",
            audience=("mainstay",),
            jwks_url="https://keys.example.co",
            role="admin",
        ),
    )
    assert churn.settings.retention_us == {"landing": 30 * DAY}
    assert churn.digest.startswith("sha256:")


def test_cleaning_steps_arrive_with_their_arguments() -> None:
    customers = load().datasets["customers"]
    assert [step.kind for step in customers.column("total_charges").clean] == ["trim", "blank_to_null", "number"]
    assert customers.column("total_charges").clean[2].args == {"decimal": ",", "thousands": ""}
    assert customers.column("joined").clean[0].args == {"formats": ["%d.%m.%Y"]}
    assert customers.column("email").clean[0].args == {"values": ["0", "n/a"]}
    assert customers.column("active").clean[0].args == {"true": ["yes", "1"], "false": ["no", "0"]}
    assert customers.column("tier").clean[0].args == {"values": {"g": "gold", "?": None}}
    assert customers.column("weight").clean[0].args == {"from": "lb", "to": "kg"}
    assert customers.column("weight").fill == 0
    assert customers.column("region").clean[0].args == {"form": "NFC"}
    assert customers.column("region").clean[1] == Cleaning(kind="map", args={"values": {"N": "north", "?": None}})
    assert [step.args for step in customers.column("country").clean] == [{"languages": ["en"]}, {"languages": ["de"]}]
    assert customers.column("phone").clean[1].args == {"country": "DE"}


def test_a_file_of_values_is_part_of_the_file(tmp_path: Path) -> None:
    main = tmp_path / "mainstay.yaml"
    main.write_text(SAMPLE)
    for name, text in (("features/customer.sql", SQL), ("maps/regions.csv", "old,new\na,b\n")):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(text)
    first = spec.load(main, kinds=KINDS, env=ENV)
    assert first.datasets["customers"].column("region").clean[1].args == {"values": {"a": "b"}}
    (tmp_path / "maps/regions.csv").write_text("old,new\na,c\n")
    assert spec.load(main, kinds=KINDS, env=ENV).digest != first.digest
    (tmp_path / "maps/regions.csv").unlink()
    with pytest.raises(FileError, match=r"no readable file maps/regions\.csv"):
        spec.load(main, kinds=KINDS, env=ENV)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("old,new\n", "no pairs"),
        ("old,new\na,b,c\n", "3 columns in line 2"),
        ("old,new\na,b\na,c\n", "'a' again in line 3"),
        ('old,new\n"a,b\n', "in line 2"),
        ("old,new\n" + "".join(f"{n},x\n" for n in range(10_001)), "10,001 pairs"),
    ],
)
def test_a_file_of_values_that_is_none_is_told(content: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        map_files.pairs(content)


def test_checks_are_named_once_and_what_the_user_called_them_wins() -> None:
    checks = {check.name: check for check in load().datasets["customers"].checks}
    assert [name for name in checks if name.startswith(("customer_id", "tenure"))] == [
        "customer_id.type",
        "customer_id.required",
        "tenure.type",
        "tenure.min_2",
        "tenure.max",
        "tenure.min",
    ]
    assert checks["tenure.min"].kind == "sql"
    assert checks["tenure.min"].args == {"condition": "tenure <= total_charges"}
    assert checks["row_count"].on_fail == "block"
    assert checks["row_count"].args == {"min": 1000}
    assert checks["total_charges.min"].on_fail == "warn"
    assert checks["joined.min"].args == {"value": "2001-01-01"}
    assert {"email.unique", "email.unique_2"} <= set(checks)
    assert checks["email+tier.unique"].args == {"columns": ["email", "tier"]}
    assert checks["email.length"].args == {"min": 3}
    assert checks["email.length"].max_share == 0.01
    assert checks["tier.references"].args == {"dataset": "plans"}
    assert checks["joined.monotone"].column == "joined"
    assert load().parents_first() == ["fx", "plans", "customers"]
    spent = load().datasets["customers"].column("spent").clean[0]
    assert checks["spent.currency"].args == spent.args == {
        "from": "country", "to": "EUR", "rates": "fx", "at": "joined", "max_age_us": 3 * DAY, "inverse": False,
    }  # fmt: skip
    assert checks["volume"].on_fail == "warn"
    day = {"per": "day", "of": "joined", "within": 0.5, "past": 28, "late_us": 6 * 3_600_000_000}
    assert checks["volume"].args == day
    assert (checks["aggregate"].kind, checks["aggregate"].on_fail) == ("aggregate", "block")


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("deletes: none", Deletes(kind="none")),
        ("deletes: {column: deleted_at}", Deletes(kind="column", column="deleted_at")),
        ("deletes: snapshot", Deletes(kind="snapshot")),
        ("deletes: {max_share: 0.5}", Deletes(kind="snapshot", max_share=0.5)),
        ("cursor: {column: n, lag: 1000}", Deletes(kind="none")),
    ],
)
def test_how_deletes_are_seen(written: str, expected: Deletes) -> None:
    text = SAMPLE.replace("    key: plan\n", f"    key: plan\n    {written}\n")
    assert load(text).datasets["plans"].deletes == expected


def test_a_file_and_its_stored_texts_are_the_same_integration(tmp_path: Path) -> None:
    (tmp_path / "features").mkdir()
    (tmp_path / "features" / "customer.sql").write_text(SQL)
    (tmp_path / "maps").mkdir()
    (tmp_path / "maps" / "regions.csv").write_text(REGIONS)
    path = tmp_path / "mainstay.yaml"
    path.write_text(SAMPLE)

    texts = spec.file_texts(path)

    assert texts == {"mainstay.yaml": SAMPLE, "features/customer.sql": SQL, "maps/regions.csv": REGIONS}
    assert spec.load(path, kinds=KINDS, env=ENV) == spec.load_files(texts, tmp_path, kinds=KINDS, env=ENV)


def test_the_digest_covers_the_sql_and_not_the_secret() -> None:
    again = load(env={"CRM_URL": "postgresql://elsewhere/crm"})
    assert again.digest == load().digest
    files = {"mainstay.yaml": SAMPLE, "features/customer.sql": SQL + " ", "maps/regions.csv": REGIONS}
    assert spec.load_files(files, Path(), kinds=KINDS, env=ENV).digest != load().digest


def test_a_secret_may_lie_in_a_file_and_inside_a_text(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("s3cret\n")
    text = SAMPLE.replace("url: ${CRM_URL}", "url: postgres://crm:${file:password}@db/${DB}")
    loaded = load(text, folder=tmp_path, env={"DB": "crm"})
    assert loaded.sources["crm"].options["url"] == "postgres://crm:s3cret@db/crm"


def test_a_placeholder_may_give_a_number() -> None:
    text = SAMPLE.replace("url: ${CRM_URL}", "url: ${CRM_URL}\n    port: ${PORT}")
    assert load(text, env={**ENV, "PORT": "5433"}).sources["crm"].options["port"] == 5433


@pytest.mark.parametrize(
    ("written", "env"),
    [
        ("sslmode: ${SECRET}", {"SECRET": "hunter2"}),
        ("port: ${SECRET}", {"SECRET": "hunter2"}),
        ("port: x${SECRET}", {"SECRET": "hunter2"}),
        ("password: hunter2", {}),
        ("schema: postgres://u:hunter2@h/d", {}),
        ("port: postgres://u:hunter2@h/d", {}),
        ("guard: postgres://u:hunter2@h/d", {}),
        ("timezone: postgres://u:hunter2@h/d", {}),
        ("schema: [host=h password=hunter2]", {}),
    ],
)
def test_no_fault_shows_a_secret(written: str, env: dict[str, str]) -> None:
    found = problems(SAMPLE.replace("    url: ${CRM_URL}\n", f"    url: ${{CRM_URL}}\n    {written}\n").replace(
        "    timezone: Europe/Berlin\n", "" if written.startswith("timezone") else "    timezone: Europe/Berlin\n"
    ), env={**ENV, **env})  # fmt: skip
    assert found
    assert "hunter2" not in "\n".join(map(str, found))


def test_what_only_the_record_knows_is_told_without_the_secret() -> None:
    text = SAMPLE.replace("kind: postgres\n    url: ${CRM_URL}", "kind: sqlite\n    path: ${CRM_URL}")
    (told,) = problems(text)
    assert told.path == "sources.crm"
    assert "hunter2" not in str(told)
    (told,) = problems(SAMPLE.replace("kind: postgres\n    url: ${CRM_URL}", "kind: sqlite\n    path: crm.dbx"))
    assert "crm.dbx does not end in .db" in told.wanted


def test_a_missing_secret_says_where_it_was_looked_for() -> None:
    (told,) = problems(SAMPLE, env={})
    assert "no variable CRM_URL in the environment of this process" in told.came
    (told,) = problems(SAMPLE.replace("${CRM_URL}", "${file:secrets/url}"))
    assert "/nowhere/secrets/url" in told.came


def test_a_missing_file_is_a_file_error(tmp_path: Path) -> None:
    for path in (tmp_path / "mainstay.yaml", tmp_path):
        with pytest.raises(FileError, match="wanted a readable mainstay"):
            spec.load(path, kinds=KINDS, env=ENV)


def test_an_absent_part_of_the_purpose_is_warned_about() -> None:
    assert spec.purpose_findings(load().purpose) == ()
    start = SAMPLE.index("purpose:")
    bare = SAMPLE[:start] + SAMPLE[SAMPLE.index("sources:") :]
    findings = spec.purpose_findings(load(bare).purpose)
    assert [finding.check for finding in findings] == [
        f"purpose.{part}" for part in ("problem", "workflow", "users.who", "users.seats", "kpis", "agreed_by", "review")
    ]
    assert {finding.verdict for finding in findings} == {"WARN"}
    unmeasured = load(SAMPLE.replace("baseline: 31, ", "")).purpose
    assert "no baseline" in spec.purpose_findings(unmeasured)[0].sentence


STORES = """
stores:
  state: {kind: postgres, url: "postgresql://me:${STATE_PASSWORD}@db/mainstay"}
  online: {kind: redis, url: "${ONLINE_URL}"}
  folder: /srv/mainstay
"""


def test_stores_are_read_with_their_placeholders_as_they_stand() -> None:
    assert spec.stores(STORES) == {
        "state": "postgresql://me:${STATE_PASSWORD}@db/mainstay",
        "online": "${ONLINE_URL}",
        "folder": "/srv/mainstay",
    }
    assert spec.stores("integration: churn\n") == {}
    journal = '  journal: {kind: postgres, url: "${JOURNAL_URL}"}\n'
    assert spec.stores(STORES + journal)["journal"] == "${JOURNAL_URL}"


@pytest.mark.parametrize(
    ("was", "then", "told"),
    [
        ("kind: redis", "kind: sqlite", "stores.online.kind"),
        ("  folder: /srv/mainstay\n", "", "stores.folder"),
        ("/srv/mainstay", "shared", "stores.folder"),
        ("folder:", "folders:", "stores.folders"),
    ],
)
def test_stores_of_another_form_are_told(was: str, then: str, told: str) -> None:
    with pytest.raises(FileError) as caught:
        spec.stores(STORES.replace(was, then))
    assert told in [problem.path for problem in caught.value.problems]


def test_placeholders_of_stores_are_told_with_all_other_faults() -> None:
    found = problems(SAMPLE + STORES.replace("me:${STATE_PASSWORD}", "me:geheim"))
    assert [problem.path for problem in found] == ["stores.state.url", "stores.online.url"]
    assert "geheim" not in str(found)
    assert load(SAMPLE + STORES, env={**ENV, "STATE_PASSWORD": "x", "ONLINE_URL": "redis://r"}).name == "churn"


def test_a_url_is_resolved_or_what_is_missing_is_told(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("geheim\n")
    env = {"HOST": "db"}
    assert spec.plainly("x://me:${file:password}@${HOST}", tmp_path, env) == "x://me:geheim@db"
    with pytest.raises(LookupError, match="no variable NOWHERE in the environment"):
        spec.plainly("${NOWHERE}", tmp_path, env)


def test_limits_of_request_inputs_arrive() -> None:
    wide = 'discount: {type: string, values: [a, b], length: {min: 1}, pattern: "[a-z]+", example: b}'
    (field,) = load(SAMPLE.replace("discount: {type: number, required: true}", wide)).model.request_inputs
    assert field.limits == Limits(values=("a", "b"), shortest=1, longest=1_000, pattern="[a-z]+", example="b")


def test_a_retirement_arrives_as_midnights_of_utc() -> None:
    said = "retired: {on: 2026-12-01, sunset: 2027-03-01, successor: 'https://api.example.com/v1/churn-2'}\n"
    found = load(said + SAMPLE).retired
    assert found is not None
    assert (iso(found.on_us), found.successor, found.link) == (
        "2026-12-01T00:00:00.000000Z", "https://api.example.com/v1/churn-2", ""
    )  # fmt: skip
    assert found.sunset_us is not None
    assert iso(found.sunset_us) == "2027-03-01T00:00:00.000000Z"
    assert load().retired is None
