"""Every route but predict and health."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from mainstay.core.clock import iso
from mainstay.core.errors import NotFound
from mainstay.core.inputs import ModelInput
from mainstay.core.nouns import Field
from mainstay.core.records import ApiKey
from mainstay.http import docs_page, invocations, metrics, oip, openapi, openapi_fields, problems
from mainstay.http.body import read_body
from mainstay.http.card import CardDoor, script
from mainstay.http.front import CALLER, REQUEST, WAITING_MOST, Family, Front
from mainstay.http.invocations import InvocationsDoor
from mainstay.http.oip import OipDoor
from mainstay.http.openapi_callers import known
from mainstay.serving import contract, keys
from mainstay.serving.answer import NotReady
from mainstay.serving.desk import Desk
from mainstay.serving.feedback import Recorded
from mainstay.serving.pairs import an_example
from mainstay.serving.request import CardTokenRequest, Key, read_card_token, read_decision, read_outcome
from mainstay.serving.retirement import still_open
from mainstay.serving.view import Snapshot
from mainstay.serving.view_rows import Keyed, key_texts

_encode = msgspec.json.Encoder().encode
ROUTE = "mainstay.route"
Asked = TypeVar("Asked")


def application(desk: Desk, most: int = WAITING_MOST) -> ASGIApp:
    """The whole ASGI application of a worker. `most`: requests that are worked on, or wait."""
    families = (
        Family("oip", lambda path: path == "/v2" or path.startswith("/v2/"), OipDoor(desk), oip.dressed),
        Family("mlflow", lambda path: path in invocations.PATHS, InvocationsDoor(desk), invocations.dressed),
    )
    return Front(desk, _Inner(desk), most, card=CardDoor(desk), families=families)


class _Inner:
    """Starlette's router; it raises what Front turns into problems."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        routes = [
            Route("/v1/receipts/{id}", self._receipt, methods=["GET"]),
            Route("/v1/{integration}/predict", self._predict_elsewhere, methods=["POST"]),
            Route("/v1/{integration}/decisions", self._decision, methods=["POST"]),
            Route("/v1/{integration}/outcomes", self._outcome, methods=["POST"]),
            Route("/v1/{integration}/card-tokens", self._card_token, methods=["POST"]),
            Route("/metrics", self._metrics, methods=["GET"]),
            Route("/openapi.json", self._openapi, methods=["GET"]),
            Route("/docs", self._docs, methods=["GET"]),
        ]
        self._router = Router(routes, redirect_slashes=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # With "app" there, the router raises for 404 and 405 instead of answering in plain text.
        scope["app"] = self
        await self._router(scope, receive, send)

    async def _predict_elsewhere(self, request: Request) -> Response:
        """Predict for an integration that this worker does not serve."""
        self._here(request, "predict")
        raise NotReady("nothing is applied yet")

    async def _decision(self, request: Request) -> Response:
        return await self._recorded(request, "decisions", read_decision, self._desk.feedback.decide)

    async def _outcome(self, request: Request) -> Response:
        return await self._recorded(request, "outcomes", read_outcome, self._desk.feedback.come_true)

    async def _recorded(
        self, request: Request, name: str, read: Callable[[bytes], Asked], record: Callable[[Asked, str], Recorded]
    ) -> Response:
        """Reads what a person says of an answer and records it."""
        self._here(request, name)
        asked = read(await read_body(request.scope["headers"], request.receive, self._desk.arrive_s))
        caller = _caller(request).id
        recorded = await self._desk.looked_up(lambda: record(asked, caller))
        return _json(recorded, 200 if recorded.repeated else 201)

    async def _card_token(self, request: Request) -> Response:
        self._here(request, "card-tokens")
        asked = read_card_token(await read_body(request.scope["headers"], request.receive, self._desk.arrive_s))
        cards = self._desk.cards
        if cards is None:
            raise NotReady("this worker shows no cards")
        self._fits(asked)
        name = request.path_params["integration"]
        now_us = self._desk.clock.now_us()
        token, grant = cards.mint(asked, integration=name, caller=_caller(request).id, now_us=now_us)
        given = {
            "token": token,
            "expires_at": iso(grant.expires_us),
            "script": script().path(name),
            "integrity": script().integrity,
        }
        return Response(_encode(given), 201, {"cache-control": "no-store"}, "application/json")

    async def _receipt(self, request: Request) -> Response:
        request.scope[ROUTE] = "receipts"
        wanted, caller = request.path_params["id"], _caller(request)
        return _json(await self._desk.looked_up(lambda: self._desk.receipt_shown(wanted, caller)))

    async def _metrics(self, request: Request) -> Response:
        request.scope[ROUTE] = "metrics"
        if not keys.allows(_caller(request), "operate"):
            wrong = problems.told(
                "forbidden",
                403,
                "this caller may not read metrics",
                mend="ask for the role `operate`",
                request=request.scope[REQUEST],
            )
            return Response(wrong.body, wrong.status, media_type=problems.PROBLEM.decode())
        return Response(metrics.exposition(self._desk), headers={"content-type": metrics.CONTENT_TYPE})

    async def _openapi(self, request: Request) -> Response:
        request.scope[ROUTE] = "openapi"
        snap = self._snapshot()
        retired, ways = snap.integration.retired, known(snap.integration)
        return _json(openapi.document(_contract(snap), self._examples(snap), _rows(snap), retired, ways))

    async def _docs(self, request: Request) -> Response:
        request.scope[ROUTE] = "docs"
        snap = self._snapshot()
        base = f"{request.url.scheme}://{request.headers.get('host') or request.url.netloc}"
        retired, ways = snap.integration.retired, known(snap.integration)
        page = docs_page.page(_contract(snap), self._examples(snap), base, retired, ways)
        # The page is all in one: no script and nothing from elsewhere may run in it.
        policy = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'"
        return HTMLResponse(page, headers={"content-security-policy": policy, "cache-control": "no-store"})

    def _fits(self, asked: CardTokenRequest) -> None:
        """A card that could only be refused is refused now, to the backend that can mend it. Raises BadRequest."""
        snap = self._snapshot()
        still_open(snap.integration, self._desk.clock.now_us())
        if snap.key_columns:
            key_texts(asked.key, snap.key_columns, "key")
        if snap.plan is not None:
            snap.plan.check_sent(asked.inputs)

    def _snapshot(self) -> Snapshot:
        snap = self._desk.view.now
        if snap is None or snap.version is None:
            raise NotReady("no model version answers yet")
        return snap

    def _here(self, request: Request, route: str) -> None:
        request.scope[ROUTE] = route
        snap = self._desk.view.now
        name = snap.integration.name if snap else ""
        if request.path_params["integration"] != name:
            raise NotFound("this worker serves another integration", mend=f"use /v1/{name}/{route}")

    def _examples(self, snap: Snapshot) -> openapi.Examples:
        """A key that exists and its row, so that the examples work when pasted; but nothing personal."""
        found, personal = self._existing(snap), snap.personal
        fields = {name: Field(name=name, type=kind) for name, kind in snap.columns}
        if snap.version is not None:
            fields |= {field.name: field for field in snap.version.signature.inputs}
        row = {
            name: value if personal.shown(name) else openapi_fields.sample(fields[name])
            for name, value in found.row.items()
        }
        if personal.key_shown([field.name for field in snap.key_columns]):
            return openapi.Examples(key=found.key, row=row)
        made = {field.name: openapi_fields.sample(field) for field in snap.key_columns}
        return openapi.Examples(key=made if len(made) > 1 else next(iter(made.values())), row=row)

    def _existing(self, snap: Snapshot) -> openapi.Examples:
        if snap.feature_set is None or snap.plan is None:
            return openapi.Examples()
        if snap.keyed is not None:
            return self._several(snap, snap.keyed)
        digest = snap.feature_set.digest
        for key in self._desk.online.keys(digest):
            row = self._desk.online.get(digest, key)
            if row is None or row.values is None or row.held or row.deleted:
                continue
            values = msgspec.json.decode(row.values)
            names = [name for name, _ in snap.feature_set.columns]
            return openapi.Examples(
                key=int(key) if snap.key_type == "integer" else key, row=dict(zip(names, values, strict=False))
            )
        return openapi.Examples()

    def _several(self, snap: Snapshot, how: Keyed) -> openapi.Examples:
        """The same for a key of several columns, of rows that exist together."""
        found = an_example(self._desk.online, ModelInput(sets=tuple(one.feature_set for one in how.views)))
        if found is None:
            return openapi.Examples(key={field.name: openapi_fields.sample(field) for field in how.keys})
        key: Key = {
            field.name: int(found[0][field.name]) if field.type == "integer" else found[0][field.name]
            for field in how.keys
        }
        names = [name for name, _ in snap.columns]
        return openapi.Examples(key=key, row=dict(zip(names, msgspec.json.decode(found[1]), strict=False)))


def _caller(request: Request) -> ApiKey:
    caller: ApiKey = request.scope[CALLER]
    return caller


def _contract(snap: Snapshot) -> contract.ApiContract:
    if snap.version is None:
        raise NotReady("no model version answers yet")
    return contract.build(snap.integration, snap.columns, snap.version.signature, keys=snap.key_columns)


def _rows(snap: Snapshot) -> tuple[Field, ...]:
    return () if snap.plan is None else snap.plan.row_fields


def _json(record: object, status: int = 200) -> Response:
    return Response(_encode(record), status, media_type="application/json")
