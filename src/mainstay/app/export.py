"""`mainstay export`: the files that make an installation a service. Pure: facts in, texts out; `write` puts them down.

No secret is ever written: variables that the file names are listed, empty, in an example for the environment file.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from mainstay import __version__, spec
from mainstay.app.place import Place
from mainstay.app.stores import has_state, open_state
from mainstay.core.errors import Refused, StoreError
from mainstay.core.records import ModelVersion
from mainstay.store.durable import translated
from mainstay.store.installation import installation_of
from mainstay.store.shelf import ShelfReader

_PLACEHOLDER = re.compile(r"\$\{([^{}]*)\}")
_PLAIN = re.compile(r"[A-Za-z0-9_@:,.+=/-]+")
EXTRAS = ("postgres", "redis", "onnx", "xgboost", "lightgbm", "grpc", "oidc", "images")
"""Kinds of sources, stores, runtimes, doors, callers and inputs that an extra of the same name installs."""
_HOMES = ("/home", "/root", "/run/user")
"""Hidden from a service by `ProtectHome=yes`."""
_DOCS = "https://github.com/mainstay-ai/mainstay/tree/main/docs/operating.md"
_UID = 10001
_PORT = 8700
_ALIVE = (
    "import os, urllib.request as u; "
    "u.urlopen('http://127.0.0.1:' + os.environ['MAINSTAY_PORT'] + '/health/live', timeout=4)"
)
# One that speaks TLS may want a certificate of its clients, which a health check has not.
_LISTENS = "import os, socket; socket.create_connection(('127.0.0.1', int(os.environ['MAINSTAY_PORT'])), 4)"
# Of several integrations one that does not live is started again by itself: no reason to stop the others.
_ANY_ALIVE = (
    "import socket, sys; "
    "sys.exit(all(socket.socket().connect_ex(('127.0.0.1', port)) for port in map(int, '{ports}'.split())))"
)


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What the files are made from."""

    integration: str
    """Its name, or that of the installation's folder."""
    folder: Path
    """The file's, or that of the installation which it belongs to. Absolute."""
    file: str
    """The file's path in it; empty for all integrations of an installation."""
    members: tuple[str, ...] = ()
    """Paths of their files, if it is all of them."""
    ports: tuple[int, ...] = ()
    """Their ports, each once."""
    home: Path | None = None
    """Where state lies, if a person said so; None: where the service manager keeps state."""
    python: str = sys.executable
    user: str = "mainstay"
    port: int = _PORT
    tls: bool = False
    """Whether it speaks TLS: perhaps only with clients that have a certificate."""
    variables: tuple[str, ...] = ()
    """Names of the environment's variables that the file asks for."""
    secret_files: tuple[str, ...] = ()
    """Paths of `${file:path}` and of the key for TLS, as written."""
    extras: tuple[str, ...] = ()
    version: str = __version__


def look(place: Place, *, home: Path | None, user: str) -> Facts:
    """The facts about an installation, read from its file as it lies there, secrets unresolved. Raises FileError."""
    if place.file is None:
        raise Refused("an export is made from a file", mend="--file PATH")
    folder = installation_of(place.file) or place.file.absolute().parent
    tree = spec.unresolved(place.file)
    sources, stores, model = (_mapping(tree.get(part)) for part in ("sources", "stores", "model"))
    asked = list(dict.fromkeys(_PLACEHOLDER.findall(f"{sources} {stores} {model}")))
    settings = _mapping(tree.get("settings"))
    port, tls = settings.get("port"), _mapping(settings.get("tls"))
    used = (*sources.values(), *stores.values())
    kinds = {*(str(_mapping(one).get("kind")) for one in used), *_runtimes(place), *settings}
    kinds |= set(_mapping(tree.get("callers")))
    kinds |= {"images" for one in _mapping(model.get("request_inputs")).values() if _mapping(one).get("image")}
    return Facts(
        integration=place.home.integration,
        folder=folder,
        file=place.file.absolute().relative_to(folder).as_posix(),
        home=home.absolute() if home is not None else None,
        user=user,
        port=port if isinstance(port, int) and port else _PORT,
        tls=bool(tls),
        variables=tuple(name for name in asked if name.isidentifier()),
        secret_files=(
            *(name.removeprefix("file:") for name in asked if name.startswith("file:")),
            *((tls["key"],) if isinstance(tls.get("key"), str) else ()),
        ),
        extras=tuple(name for name in EXTRAS if name in kinds),
    )


def look_whole(places: Sequence[Place], *, home: Path | None, user: str) -> Facts:
    """The facts about all integrations of an installation: one service, one home, one guard.

    Raises Refused where two of them would listen on one port.
    """
    each = [look(place, home=home, user=user) for place in places]
    for number, one in enumerate(each):
        for other in each[:number]:
            if one.port == other.port:
                sentence = f"{other.integration} and {one.integration} both listen on port {one.port}"
                raise Refused(sentence, mend="give each its own `settings: {port: ...}`")
    folder = each[0].folder
    return Facts(
        integration=re.sub(r"[^a-z0-9-]+", "-", folder.name.lower()).strip("-") or "installation",
        folder=folder,
        file="",
        members=tuple(one.file for one in each),
        ports=tuple(one.port for one in each),
        home=each[0].home,
        user=user,
        port=each[0].port,
        variables=_once(name for one in each for name in one.variables),
        # Some start at an integration's folder, some at the installation's.
        secret_files=_once(name for one in each for name in one.secret_files),
        extras=tuple(name for name in EXTRAS if any(name in one.extras for one in each)),
    )


def _once(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _runtimes(place: Place) -> set[str]:
    """Runtimes of the model versions that are there; none before the first, or where this machine may not see them."""
    if not has_state(place.home):
        return set()
    try:
        state = open_state(place.home)
    except StoreError:
        return set()
    try:
        return {one.runtime for one in ShelfReader(state, "model", ModelVersion).all().values()}
    finally:
        state.close()


def write(files: Mapping[str, str], out: Path, *, force: bool) -> list[Path]:
    """Writes the files into `out`, which is made. Raises Refused when one is there and is another, unless `force`."""
    with translated(out):
        out.mkdir(parents=True, exist_ok=True)
        others = [name for name, text in files.items() if (out / name).exists() and (out / name).read_text() != text]
        if others and not force:
            raise Refused(
                f"{', '.join(others)} is there already and says something else; nothing was written",
                where=str(out),
                mend="--force replaces it, --out DIR writes elsewhere",
            )
        for name, text in files.items():
            (out / name).write_text(text, encoding="utf-8")
    return [out / name for name in files]


# --- systemd -----------------------------------------------------------------------------------------------------


def systemd(facts: Facts) -> dict[str, str]:
    """The unit, and an example of its environment file."""
    return {
        f"mainstay-{facts.integration}.service": _unit(facts),
        f"mainstay-{facts.integration}.env.example": _environment(facts),
    }


_STOPPING = """\
# A faulty file (2) or a missing one (4) does not mend itself; all else is tried again.
Restart=on-failure
RestartSec=5
RestartPreventExitStatus=2 4
# SIGTERM to the supervisor alone: it stops taking questions, lets workers finish, then ends the rest.
KillMode=mixed
TimeoutStopSec=60
OOMPolicy=continue
LimitNOFILE=65536
"""
_HARDENED = """\
UMask=0077
NoNewPrivileges=yes
CapabilityBoundingSet=
PrivateTmp=yes
PrivateDevices=yes
ProtectProc=invisible
ProtectClock=yes
ProtectHostname=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
# The `python` runtime takes the network from a model by namespaces of its own.
RestrictNamespaces=user net
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service landlock_create_ruleset landlock_add_rule landlock_restrict_self
SystemCallErrorNumber=EPERM
# MemoryDenyWriteExecute stays off: libraries that models use make code at run time.
"""


def _unit(facts: Facts) -> str:
    return f"""\
{_how(facts)}
[Unit]
Description=Mainstay: {facts.integration}{_and_who(facts)}
Documentation={_DOCS}
Wants=network-online.target
After=network-online.target

[Service]
{_started(facts)}
{_STOPPING}
{_HARDENED}{_seen(facts)}
[Install]
WantedBy=multi-user.target
"""


def _what(facts: Facts) -> str:
    return f"integration {facts.integration}" if facts.file else f"installation {facts.integration}{_and_who(facts)}"


def _and_who(facts: Facts) -> str:
    """The integrations of an installation, by the names of their folders."""
    return f" ({', '.join(Path(file).parent.name for file in facts.members)})" if facts.members else ""


def _how(facts: Facts) -> str:
    name, user = facts.integration, facts.user
    home = facts.home if facts.home is not None else f"/var/lib/mainstay/{name}"
    return f"""\
# Mainstay {facts.version}, {_what(facts)}: written by `mainstay export systemd`. See {_DOCS}
#
#   useradd --system --home-dir / --shell /usr/sbin/nologin {user}
#   install -D -m 600 mainstay-{name}.env /etc/mainstay/{name}.env
#   cp mainstay-{name}.service /etc/systemd/system/ && systemctl daemon-reload
#   systemctl enable --now mainstay-{name}
#
# Commands of a person run as the same user, on the same home, with the same variables:
#   {_by_hand(facts, home)}
"""


def _by_hand(facts: Facts, home: Path | str) -> str:
    command = f"sudo -u {facts.user} MAINSTAY_HOME={home} {facts.python} -m mainstay status"
    return f"{command} --file {facts.folder / facts.file}" if facts.file else f"cd {facts.folder} && {command}"


def _started(facts: Facts) -> str:
    """What is started, as whom, with what. All integrations of an installation are found in the working folder."""
    which = ("--file", str(facts.folder / facts.file)) if facts.file else ()
    words = (facts.python, "-m", "mainstay", "up", *which)
    kept = _word(f"MAINSTAY_HOME={facts.home}")
    if facts.home is None:
        kept = f"MAINSTAY_HOME=%S/mainstay/{facts.integration}"
    lines = [
        "Type=exec",
        f"User={facts.user}",
        f"Group={facts.user}",
        f"WorkingDirectory={_escaped(str(facts.folder))}",
        f"ExecStart={' '.join(_word(one, command=True) for one in words)}",
        f"EnvironmentFile={'' if facts.variables else '-'}/etc/mainstay/{facts.integration}.env",
        f"Environment={kept}",
        "Environment=MAINSTAY_LOG_FORMAT=json PYTHONUNBUFFERED=1",
    ]
    if facts.home is None:
        lines += [f"StateDirectory=mainstay/{facts.integration}", "StateDirectoryMode=0700"]
    return "\n".join(lines) + "\n"


def _seen(facts: Facts) -> str:
    """Which parts of the disk the service sees, and which it may write."""
    paths = [str(facts.folder), facts.python, str(facts.home or "")]
    in_homes = any(path.startswith(f"{home}/") for path in paths for home in _HOMES)
    lines = [
        f"ProtectHome={'read-only' if in_homes else 'yes'}",
        "ProtectSystem=strict",
        "# Beside the file are contracts/ and the ledger of erasures; permissions still decide what is written there.",
        f"ReadWritePaths={_word(str(facts.folder))}",
    ]
    if facts.home is not None:
        lines.append(f"ReadWritePaths={_word(str(facts.home))}")
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return text.replace("%", "%%")


def _word(text: str, *, command: bool = False) -> str:
    """A word of a unit's line, quoted where it must be; `%`, and in a command `$`, mean themselves."""
    if _PLAIN.fullmatch(text):
        return text
    text = _escaped(text).replace("\\", "\\\\").replace('"', '\\"')
    return '"' + (text.replace("$", "$$") if command else text) + '"'


def _environment(facts: Facts) -> str:
    lines = [
        f"# Secrets of {facts.integration}, one NAME=value a line: fill a copy, for root only, and never commit it.",
        f"#   /etc/mainstay/{facts.integration}.env",
        *(f"{name}=" for name in facts.variables),
        *(f"# read from a file that the service's user must be able to read: {path}" for path in facts.secret_files),
        "# MAINSTAY_LOG_LEVEL=info",
    ]
    return "\n".join(lines) + "\n"


# --- docker ------------------------------------------------------------------------------------------------------


def docker(facts: Facts) -> dict[str, str]:
    """The Dockerfile and what must stay out of its image. Both belong into the file's folder."""
    return {"Dockerfile": _dockerfile(facts), ".dockerignore": _dockerignore(facts)}


def _dockerfile(facts: Facts) -> str:
    name, at = facts.integration, f"/srv/{facts.integration}"
    ledgers = [Path(file).with_name("erasures.jsonl").as_posix() for file in facts.members or (facts.file,)]
    mounts = "".join(f' -v "$PWD/{one}:{at}/{one}"' for one in ledgers)
    ports = facts.ports or (facts.port,)
    published = " ".join(f"-p 127.0.0.1:{port}:{port}" for port in ports)
    which = f"MAINSTAY_FILE={at}/{facts.file} \\\n    MAINSTAY_PORT={facts.port} \\\n    " if facts.file else ""
    alive = _LISTENS if facts.tls else _ALIVE
    if not facts.file:
        alive = _ANY_ALIVE.format(ports=" ".join(map(str, ports)))
    extras = f"[{','.join(facts.extras)}]" if facts.extras else ""
    given = "".join(f" -e {one}" for one in facts.variables)
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    return f"""\
# Mainstay {facts.version}, {_what(facts)}: written by `mainstay export docker`. See {_DOCS}
#
#   mainstay apply                      # once, so that contracts/ is there; commit it
#   touch {" ".join(ledgers)} && chown {_UID} {" ".join(ledgers)}
#   docker build -t {name} .
#   docker run -d --init --name {name} --restart unless-stopped --read-only --tmpfs /tmp --cap-drop ALL \\
#     --security-opt no-new-privileges {published}{given} \\
#     -v {name}-state:/var/lib/mainstay{mounts} {name}
#
# Secrets come at run time, by the environment or as mounted files; none is in the image. State is on a local disk.
# A load balancer asks /health/ready; the health check below asks whether the process lives, because a source
# that is away is no reason to restart.
FROM python:{python}-slim

RUN useradd --system --uid {_UID} --home-dir /var/lib/mainstay --shell /usr/sbin/nologin mainstay \\
 && install -d -m 700 -o mainstay -g mainstay /var/lib/mainstay
RUN pip install --no-cache-dir "mainstay{extras}=={facts.version}"

WORKDIR {at}
COPY . {at}

ENV {which}MAINSTAY_HOME=/var/lib/mainstay \\
    MAINSTAY_HOST=0.0.0.0 \\
    MAINSTAY_LOG_FORMAT=json \\
    PYTHONUNBUFFERED=1 \\
    PYTHONDONTWRITEBYTECODE=1

USER {_UID}
VOLUME /var/lib/mainstay
EXPOSE {" ".join(map(str, ports))}
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \\
  CMD ["python", "-c", "{alive}"]
ENTRYPOINT ["mainstay"]
CMD ["up"]
"""


def _dockerignore(facts: Facts) -> str:
    inside = [path for path in facts.secret_files if not path.startswith(("/", ".."))]
    if facts.members:
        inside = [f"**/{path}" for path in inside] + ["**/secrets"]
    groups = {
        "state and its backups": (".mainstay", "*.tar", "*.tar.gz", "*.tgz", "**/erasures.jsonl"),
        "secrets": (".env", "*.env", "**/.env", "**/*.env", "**/*.pem", "**/*.key", "secrets", *inside),
        "data: mount it where it is a source": ("**/*.db", "**/*.sqlite", "**/*.sqlite3", "**/*.duckdb"),
        "what builds and people leave": (".git", ".venv", "**/__pycache__", "Dockerfile", ".dockerignore"),
    }
    blocks = ["\n".join((f"# {title}", *names)) for title, names in groups.items()]
    return "\n\n".join(blocks) + "\n"
