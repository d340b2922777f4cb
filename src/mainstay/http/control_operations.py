"""Every operation of the control API as a row: route, least role, what is sent, and the one call that it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from mainstay.app.control import Hand
from mainstay.core.errors import NotFound
from mainstay.http.control_asked import (
    Asked,
    AuditAsked,
    BatchesAsked,
    DiscardAsked,
    NewKey,
    NewSecret,
    QuarantineAsked,
    ReasonAsked,
    ReleaseAsked,
    ReplayAsked,
    RunAsked,
    VerifyAsked,
)
from mainstay.http.control_words import over_http
from mainstay.serving.keys import Role

PREFIX = "/control"
DOCUMENT = "/control/openapi.json"

Parameters = Mapping[str, str]
Act = Callable[[Hand, Any, Parameters], object]


class Operation(NamedTuple):
    name: str
    method: str
    path: str
    role: Role
    """The least; each role includes the ones before it."""
    summary: str
    asked: type[Asked]
    """The body of a POST, what stands behind `?` of a GET."""
    act: Act
    status: int = 200
    by_loop: bool = False
    """Whether the loop performs it: then it may be done later."""


def _number(given: Parameters) -> int:
    text = given["number"]
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise NotFound("there is nothing of this number", mend="numbers are whole: 1, 2, 3")
    return int(text)


def _release(hand: Hand, asked: ReleaseAsked, at: Parameters) -> object:
    args = {"dataset": at["dataset"], "number": _number(at), "reason": asked.reason, "through": asked.through}
    return hand.order("batch.release", args)


def _discard_batch(hand: Hand, asked: ReasonAsked, at: Parameters) -> object:
    return hand.order("batch.discard", {"dataset": at["dataset"], "number": _number(at), "reason": asked.reason})


def _replay(hand: Hand, asked: ReplayAsked, _: Parameters) -> object:
    return hand.order("quarantine.replay", {"ids": asked.ids, "dataset": asked.dataset, "key": asked.key})


def _quarantine(hand: Hand, asked: QuarantineAsked, _: Parameters) -> object:
    return hand.quarantine(dataset=asked.dataset, every=asked.all, limit=asked.limit, personal=asked.personal)


def _batches(hand: Hand, asked: BatchesAsked, _: Parameters) -> object:
    return hand.batches(dataset=asked.dataset, waiting=asked.waiting, limit=asked.limit)


def _create(hand: Hand, asked: NewKey, _: Parameters) -> object:
    return hand.create_key(name=asked.name, role=asked.role, days=asked.days, rate=asked.rate or "")


def _audit(hand: Hand, asked: AuditAsked, _: Parameters) -> object:
    return hand.audit(
        what=asked.what, by=asked.by, object=asked.object, since=asked.since or "", limit=asked.limit
    )  # fmt: skip


def _request(hand: Hand, _: Asked, at: Parameters) -> object:
    told = hand.request(at["id"])
    return told | {"mend": over_http(told["mend"])} if "mend" in told else told


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "status", "GET", "/control/v1/status", "operate",
        "What is wrong first, then everything else: the document of `mainstay status`",
        Asked, lambda hand, _asked, _at: hand.status(),
    ),
    Operation(
        "models", "GET", "/control/v1/models", "operate", "Every model version, and which one answers",
        Asked, lambda hand, _asked, _at: hand.models(),
    ),
    Operation(
        "model", "GET", "/control/v1/models/{number}", "operate", "One version",
        Asked, lambda hand, _asked, at: hand.model(_number(at)),
    ),
    Operation(
        "useModel", "POST", "/control/v1/models/{number}/use", "admin",
        "Lets a version answer from the next request on. Going back is the same",
        Asked, lambda hand, _asked, at: hand.use(_number(at)),
    ),
    Operation(
        "keys", "GET", "/control/v1/keys", "admin", "Every API key with its last use, never its secret",
        Asked, lambda hand, _asked, _at: hand.keys(),
    ),
    Operation(
        "createKey", "POST", "/control/v1/keys", "admin", "Makes an API key. Its secret is in this answer alone",
        NewKey, _create, 201,
    ),
    Operation(
        "rotateKey", "POST", "/control/v1/keys/{id}/rotate", "admin",
        "Gives an API key another secret, which is in this answer alone",
        NewSecret, lambda hand, asked, at: hand.rotate_key(at["id"], overlap=asked.overlap, days=asked.days),
    ),
    Operation(
        "revokeKey", "POST", "/control/v1/keys/{id}/revoke", "admin", "Ends an API key. Twice changes nothing",
        Asked, lambda hand, _asked, at: hand.revoke_key(at["id"]),
    ),
    Operation(
        "quarantine", "GET", "/control/v1/quarantine", "operate",
        "Rejected rows, newest first; personal values are masked",
        QuarantineAsked, _quarantine,
    ),
    Operation(
        "replay", "POST", "/control/v1/quarantine/replay", "admin",
        "Judges rows again and publishes those that pass and are newer than current",
        ReplayAsked, _replay, by_loop=True,
    ),
    Operation(
        "discard", "POST", "/control/v1/quarantine/discard", "admin", "Lets what current has stand",
        DiscardAsked, lambda hand, asked, _at: hand.order(
            "quarantine.discard", {"ids": asked.ids, "reason": asked.reason}
        ), by_loop=True,
    ),
    Operation(
        "batches", "GET", "/control/v1/batches", "operate", "Batches, newest first", BatchesAsked, _batches,
    ),
    Operation(
        "batch", "GET", "/control/v1/batches/{dataset}/{number}", "operate", "One batch with every finding",
        Asked, lambda hand, _asked, at: hand.batch(at["dataset"], _number(at)),
    ),
    Operation(
        "releaseBatch", "POST", "/control/v1/batches/{dataset}/{number}/release", "admin",
        "Overrides the findings that block a batch; its rows are published and carry WARN",
        ReleaseAsked, _release, by_loop=True,
    ),
    Operation(
        "discardBatch", "POST", "/control/v1/batches/{dataset}/{number}/discard", "admin",
        "Lets what current has stand instead of a blocked batch",
        ReasonAsked, _discard_batch, by_loop=True,
    ),
    Operation(
        "run", "POST", "/control/v1/run", "admin", "Reads, judges and publishes datasets now",
        RunAsked, lambda hand, asked, _at: hand.order(
            "run", {"datasets": asked.datasets, "dry_run": asked.dry_run}
        ), by_loop=True,
    ),
    Operation(
        "request", "GET", "/control/v1/requests/{id}", "admin",
        "What became of a request that was answered with 202",
        Asked, _request,
    ),
    Operation(
        "audit", "GET", "/control/v1/audit", "admin", "Who changed what: the newest records, oldest first",
        AuditAsked, _audit,
    ),
    Operation(
        "verifyAudit", "GET", "/control/v1/audit/verify", "admin",
        "Whether every record of the audit is as it was written",
        VerifyAsked, lambda hand, asked, _at: hand.verify(asked.head),
    ),
)  # fmt: skip
