"""An installation as a service: a unit that systemd takes, an image with no secret in it, settings by environment."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from mainstay.app import export, log_lines, logs
from mainstay.app.place import Place, locate
from mainstay.cli.main import run
from mainstay.core.errors import FileError, Refused
from mainstay.store.home import Home
from mainstay.store.installation import members_of
from mainstay.testing.ports import free_port
from tests.app.shop import RULE, Shop
from tests.laws.reading import ROOT

FILE = """\
integration: churn
api: 1
sources:
  crm: {kind: postgres, url: "${CRM_URL}", password: "${file:secrets/crm}"}
  shop: {kind: sqlite, path: "${CRM_URL}"}
settings: {port: 8123}
"""


@pytest.fixture
def place(tmp_path: Path) -> Place:
    folder = tmp_path / "an installation, 100 %"
    folder.mkdir()
    (folder / "mainstay.yaml").write_text(FILE)
    return locate(folder / "mainstay.yaml", folder / ".mainstay")


def facts(place: Place, home: Path | None = None) -> export.Facts:
    return export.look(place, home=home, user="mainstay")


def entries(text: str) -> dict[str, list[str]]:
    """Key -> values of a unit."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line and line[0] not in "#[":
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
    return found


def test_the_facts_come_from_the_file_and_no_secret_is_asked_for(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRM_URL", "postgresql://reader:hush@db/crm")
    (place.folder / "secrets").mkdir()
    (place.folder / "secrets" / "crm").write_text("hush")
    found = facts(place)
    assert (found.variables, found.secret_files) == (("CRM_URL",), ("secrets/crm",))
    assert (found.port, found.extras) == (8123, ("postgres",))
    for texts in (export.systemd(found), export.docker(found)):
        assert "hush" not in "".join(texts.values())
    with pytest.raises(Refused, match="made from a file"):
        facts(Place(Home(place.home.root, "churn"), None))
    (place.folder / "mainstay.yaml").write_text("a: [\n")
    with pytest.raises(FileError):
        facts(place)


def test_a_model_that_is_served_elsewhere_and_pictures_ask_for_what_they_need(place: Place) -> None:
    model = """model:
  name: churn
  http: {url: "https://models.example.com", headers: {Authorization: "Bearer ${MODEL_TOKEN}", X: "${file:secrets/x}"}}
  request_inputs: {photo: {type: bytes, image: {formats: [png]}}}
"""
    (place.folder / "mainstay.yaml").write_text(FILE + model)
    found = facts(place)
    assert (found.variables, found.secret_files) == (("CRM_URL", "MODEL_TOKEN"), ("secrets/crm", "secrets/x"))
    assert found.extras == ("postgres", "images")


def test_runtimes_of_models_that_are_there_ask_for_their_extras(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    shop.begin(model=RULE)
    assert facts(shop.place).extras == ()
    assert 'pip install --no-cache-dir "mainstay==' in export.docker(facts(shop.place))["Dockerfile"]


def test_the_unit_keeps_state_where_systemd_does_and_gives_away_nothing(place: Place) -> None:
    texts = export.systemd(facts(place))
    unit = entries(texts["mainstay-churn.service"])
    folder = str(place.folder).replace("%", "%%")
    assert unit["ExecStart"] == [f'{sys.executable} -m mainstay up --file "{folder}/mainstay.yaml"']
    assert unit["WorkingDirectory"] == [folder]
    assert unit["EnvironmentFile"] == ["/etc/mainstay/churn.env"]
    assert unit["StateDirectory"] == ["mainstay/churn"]
    assert "MAINSTAY_HOME=%S/mainstay/churn" in unit["Environment"]
    assert unit["ReadWritePaths"] == [f'"{folder}"']
    for key, value in {
        "User": "mainstay", "NoNewPrivileges": "yes", "ProtectSystem": "strict", "CapabilityBoundingSet": "",
        "PrivateTmp": "yes", "Restart": "on-failure", "KillMode": "mixed", "UMask": "0077",
    }.items():  # fmt: skip
        assert unit[key] == [value]
    assert re.findall(r"^(\w+)=", texts["mainstay-churn.env.example"], re.MULTILINE) == ["CRM_URL"]


def test_an_integration_among_several_brings_what_they_share(tmp_path: Path) -> None:
    folder = tmp_path / "integrations" / "churn"
    folder.mkdir(parents=True)
    (tmp_path / "installation.yaml").write_text("sources:\n  crm: {kind: postgres, url: '${CRM_URL}'}\n")
    (folder / "mainstay.yaml").write_text("integration: churn\napi: 1\n")
    found = facts(locate(folder / "mainstay.yaml", tmp_path / ".mainstay"))
    assert (found.folder, found.file, found.variables) == (tmp_path, "integrations/churn/mainstay.yaml", ("CRM_URL",))
    dockerfile = export.docker(found)["Dockerfile"]
    assert "MAINSTAY_FILE=/srv/churn/integrations/churn/mainstay.yaml" in dockerfile
    assert '"$PWD/integrations/churn/erasures.jsonl:/srv/churn/integrations/churn/erasures.jsonl"' in dockerfile


@pytest.fixture
def installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two integrations, with sources and stores of the installation."""
    folder = tmp_path / "crm Installation"
    folder.mkdir()
    stores = (
        "stores:\n  state: {kind: postgres, url: '${file:secrets/state}'}\n"
        "  online: {kind: redis, url: '${ONLINE_URL}'}\n  folder: /srv/mainstay\n"
    )
    (folder / "installation.yaml").write_text(f"sources:\n  crm: {{kind: postgres, url: '${{CRM_URL}}'}}\n{stores}")
    for name, port in (("churn", 8701), ("upsell", 8702)):
        (folder / "integrations" / name).mkdir(parents=True)
        (folder / "integrations" / name / "mainstay.yaml").write_text(
            f"integration: {name}\napi: 1\nsettings: {{port: {port}}}\n"
        )
    monkeypatch.chdir(folder)
    return folder


def test_one_unit_runs_all_integrations_of_an_installation(installation: Path) -> None:
    assert run(["export", "systemd", "--out", "units"]) == 0
    texts = {path.name: path.read_text() for path in (installation / "units").iterdir()}
    assert sorted(texts) == ["mainstay-crm-installation.env.example", "mainstay-crm-installation.service"]
    unit = entries(texts["mainstay-crm-installation.service"])
    assert unit["ExecStart"] == [f"{sys.executable} -m mainstay up"], "all that the working folder has"
    assert unit["WorkingDirectory"] == [str(installation)]
    assert unit["Environment"][0] == "MAINSTAY_HOME=%S/mainstay/crm-installation", "one home, so one guard"
    assert unit["Description"] == ["Mainstay: crm-installation (churn, upsell)"]
    variables = re.findall(r"^(\w+)=", texts["mainstay-crm-installation.env.example"], re.MULTILINE)
    assert variables == ["CRM_URL", "ONLINE_URL"]
    if shutil.which("systemd-analyze") is not None:
        service = str(installation / "units" / "mainstay-crm-installation.service")
        done = subprocess.run(["systemd-analyze", "verify", service], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")


def test_one_image_serves_all_integrations_of_an_installation(installation: Path) -> None:
    assert run(["export", "docker"]) == 0
    text = (installation / "Dockerfile").read_text()
    lines = [line.strip() for line in text.splitlines() if not line.startswith("#")]
    assert "EXPOSE 8701 8702" in lines
    assert "WORKDIR /srv/crm-installation" in lines
    assert "ENV MAINSTAY_HOME=/var/lib/mainstay \\" in lines, "neither file nor port: they are about one integration"
    assert "mainstay[postgres,redis]==" in text
    assert "-p 127.0.0.1:8701:8701 -p 127.0.0.1:8702:8702 -e CRM_URL -e ONLINE_URL" in text
    for name in ("churn", "upsell"):
        ledger = f"integrations/{name}/erasures.jsonl"
        assert f'-v "$PWD/{ledger}:/srv/crm-installation/{ledger}"' in text
    ignored = (installation / ".dockerignore").read_text().splitlines()
    assert {"**/secrets/state", "**/secrets", "**/erasures.jsonl", ".mainstay"} <= set(ignored)


def test_the_image_of_an_installation_is_healthy_while_one_of_it_answers(installation: Path) -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        taken, free = listening.getsockname()[1], free_port()
        for ports, code in (((taken, free), 0), ((free,), 1)):
            (one, *_) = [locate(file, installation) for file in members_of(installation)]
            made = msgspec.structs.replace(export.look_whole([one], home=None, user="m"), ports=ports)
            (check,) = re.findall(r"^  CMD (\[.*\])$", export.docker(made)["Dockerfile"], re.MULTILINE)
            done = subprocess.run([sys.executable, *json.loads(check)[1:]], check=False)
            assert done.returncode == code


def test_an_installation_with_one_port_twice_is_not_exported(
    installation: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = installation / "integrations" / "upsell" / "mainstay.yaml"
    file.write_text(file.read_text().replace("8702", "8701"))
    assert run(["export", "docker"]) == 3
    assert "churn and upsell both listen on port 8701" in capsys.readouterr().err
    assert not (installation / "Dockerfile").exists()


def test_a_home_that_a_person_named_is_the_units_home(place: Place) -> None:
    unit = entries(export.systemd(facts(place, Path("/srv/state of churn")))["mainstay-churn.service"])
    assert '"MAINSTAY_HOME=/srv/state of churn"' in unit["Environment"]
    assert '"/srv/state of churn"' in unit["ReadWritePaths"]
    assert "StateDirectory" not in unit


@pytest.mark.parametrize(("folder", "protect"), [("/srv/churn", "yes"), ("/run/user/7/churn", "read-only")])
def test_what_lies_in_a_persons_home_stays_readable(folder: str, protect: str) -> None:
    made = export.Facts(integration="churn", folder=Path(folder), file="mainstay.yaml", python="/usr/bin/python3")
    assert entries(export.systemd(made)["mainstay-churn.service"])["ProtectHome"] == [protect]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
@pytest.mark.parametrize("home", [None, Path("/srv/state of churn")])
def test_systemd_takes_the_unit(place: Place, tmp_path: Path, home: Path | None) -> None:
    (unit, _) = export.write(export.systemd(facts(place, home)), tmp_path / "units", force=False)
    done = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_image_has_no_root_no_secret_and_a_health_check(place: Place) -> None:
    texts = export.docker(facts(place))
    lines = [line for line in texts["Dockerfile"].splitlines() if not line.startswith("#")]
    words = [line.split()[0] for line in lines if line and not line.startswith(" ")]
    assert words == [
        "FROM", "RUN", "RUN", "WORKDIR", "COPY", "ENV", "USER", "VOLUME", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK",
        "ENTRYPOINT", "CMD",
    ]  # fmt: skip
    assert "USER 10001" in lines
    assert "EXPOSE 8123" in lines
    assert 'RUN pip install --no-cache-dir "mainstay[postgres]==' in texts["Dockerfile"]
    assert "CRM_URL" not in "\n".join(lines)
    ignored = texts[".dockerignore"].splitlines()
    assert {".mainstay", ".env", "secrets/crm", "**/*.db", "**/erasures.jsonl", ".git"} <= set(ignored)


def test_files_that_say_something_else_are_not_replaced(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["export", "docker", "--file", str(place.file)]
    assert run(arguments) == 0
    assert run(arguments) == 0  # the same again
    (place.folder / "Dockerfile").write_text("FROM mine\n")
    assert run(arguments) == 3
    assert "Dockerfile is there already" in capsys.readouterr().err
    assert (place.folder / "Dockerfile").read_text() == "FROM mine\n"
    assert run([*arguments, "--force", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [Path(path).name for path in told["files"]] == ["Dockerfile", ".dockerignore"]
    assert (place.folder / "Dockerfile").read_text() != "FROM mine\n"
    assert run(["export", "systemd", "--file", str(place.file), "--out", str(place.folder / "units")]) == 0
    assert len(list((place.folder / "units").iterdir())) == 2


# --- settings by environment -------------------------------------------------------------------------------------


def lines_of(process: subprocess.Popen[str]) -> Iterator[str]:
    assert process.stdout is not None
    for line in process.stdout:
        yield line.strip()


def test_up_takes_everything_from_the_environment_and_is_found_alive(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    shop.begin(model=RULE)
    moved = tmp_path / "state"
    shop.home.rename(moved)
    env = {
        **os.environ, "MAINSTAY_FILE": str(shop.file), "MAINSTAY_HOME": str(moved), "MAINSTAY_HOST": "127.0.0.1",
        "MAINSTAY_PORT": str(free_port()), "MAINSTAY_WORKERS": "1", "MAINSTAY_LOG_FORMAT": "json",
        "PYTHONUNBUFFERED": "1",
    }  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-m", "mainstay", "up"], cwd="/", env=env, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        events = []
        for line in lines_of(process):
            events.append(json.loads(line))
            if events[-1]["event"] == "loop started":
                break
        assert f"API on http://127.0.0.1:{env['MAINSTAY_PORT']}" in " ".join(one["event"] for one in events)
        assert {"event", "level", "timestamp"} <= set(events[-1])
        dockerfile = export.docker(facts(shop.place))["Dockerfile"]
        (check,) = re.findall(r"^  CMD (\[.*\])$", dockerfile, re.MULTILINE)
        alive = f"http://127.0.0.1:{env['MAINSTAY_PORT']}/health/live"
        subprocess.run([sys.executable, *json.loads(check)[1:]], env=env, check=True)
        assert urllib.request.urlopen(alive, timeout=10).status == 200
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    assert process.returncode == 0
    assert not shop.home.exists()


def test_the_command_line_wins_over_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shop = Shop(tmp_path)
    shop.begin(model=RULE)
    monkeypatch.setenv("MAINSTAY_FILE", str(tmp_path / "none.yaml"))
    assert run(["status"]) == 4
    assert "none.yaml" in capsys.readouterr().err
    monkeypatch.setenv("MAINSTAY_HOME", str(tmp_path / "none"))
    assert run(["predict", "person-0001", "--file", str(shop.file), "--home", str(shop.home)]) == 0
    assert run(["--file", str(shop.file), "--home", str(shop.home), "predict", "person-0001"]) == 0
    monkeypatch.setenv("MAINSTAY_FILE", str(shop.file))
    monkeypatch.setenv("MAINSTAY_HOME", "")
    assert run(["predict", "person-0001"]) == 0


@pytest.mark.parametrize(("name", "value"), [(logs.LEVEL, "loud"), (log_lines.FORMAT, "xml")])
def test_a_setting_that_is_none_is_refused_with_those_there_are(name: str, value: str) -> None:
    with pytest.raises(Refused, match=f"{name} is '{value}'") as raised:
        logs.settings({name: value})
    assert "one of " in raised.value.mend
    assert logs.settings({name: ""}) == ("info", "text")


def test_the_level_keeps_lower_lines_back() -> None:
    code = (
        "import os, structlog; from mainstay.app import logs; logs.configure(os.environ); "
        "log = structlog.get_logger(); log.info('low', x=1); log.warning('high', x=1)"
    )
    env = {**os.environ, logs.LEVEL: "warning", log_lines.FORMAT: "json"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    (line,) = done.stdout.splitlines()
    told = json.loads(line)
    assert (told["event"], told["level"], told["x"]) == ("high", "warning", 1)


def test_every_variable_that_is_read_is_documented_and_no_other() -> None:
    text = "".join(
        path.read_text() for folder in ("cli", "app") for path in (ROOT / "src/mainstay" / folder).glob("*.py")
    )
    read = set(re.findall(r"\"(MAINSTAY_[A-Z_]+)\"", text))
    # Between our own processes:
    read -= {"MAINSTAY_SUPERVISOR", "MAINSTAY_RESTARTS", "MAINSTAY_ENDED", "MAINSTAY_DIE_AT"}
    documented = set(re.findall(r"^\| `(MAINSTAY_[A-Z_]+)`", (ROOT / "docs/operating.md").read_text(), re.MULTILINE))
    assert documented == read
