"""The shape of `model.http`: a model that is served elsewhere."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from mainstay.core import elsewhere
from mainstay.core.elsewhere import Network, Number
from mainstay.spec.part import Part
from mainstay.spec.values import Identifier, Span


class HttpPart(Part):
    url: str = Field(
        min_length=1,
        description="Where it is served: for `json` the whole address, else the server's.",
        examples=["https://scores.example.com"],
    )
    protocol: Literal["oip", "mlflow", "json"] = Field(
        description="How it is asked: the Open Inference Protocol, MLflow's, or plain JSON."
    )
    inputs: list[Identifier] = Field(
        min_length=1,
        description="What is sent of the feature columns, request-time inputs and columns of the key; nothing else is.",
        examples=[["tenure", "contract"]],
    )
    model: str = Field(
        default="", min_length=1, description="`oip`: what the model is called there.", examples=["churn"]
    )
    version: str = Field(default="", min_length=1, description="`oip`: the version asked for; left out: the server's.")
    tensor: str = Field(
        default="", min_length=1, description="`oip`: one tensor for all inputs; left out: one for each by its name."
    )
    datatype: Number = Field(default=elsewhere.NUMBER, description="`oip`: how numbers are sent.")
    request: Any = Field(
        default=None,
        description="`json`: the body; `$NAME` is an input, `$rows` a `row` for each. Left out: one `row`.",
        examples=["{customers: $rows}"],
    )
    row: Any = Field(
        default=None,
        description="`json`: one row of it; left out: each input by its name.",
        examples=["{age: $tenure}"],
    )
    answers: str = Field(
        default="", description="`json` with `$rows`: the path to the list of answers; left out: the whole answer."
    )
    outputs: dict[Identifier, str] = Field(
        default={},
        description="Output -> its path in an answer, or its tensor; left out: its own name.",
        examples=[{"churn": "score.value"}],
    )
    headers: dict[str, str] = Field(
        default={}, description="Sent with each request.", examples=[{"Authorization": "Bearer ${SCORES_TOKEN}"}]
    )
    ca: str = Field(
        default="",
        min_length=1,
        description="Certificates in PEM of an authority of your own.",
        examples=["${file:authority.pem}"],
    )
    network: Network = Field(
        default=elsewhere.NETWORK,
        description="Whether the host may have a private address, or be this machine under another name.",
    )
    connect_timeout: Span = Field(default=elsewhere.CONNECT_US, examples=["1s"])
    read_timeout: Span | None = Field(
        default=None, description="Between two parts of an answer; left out: `model.timeout`.", examples=["500ms"]
    )
    response_limit: int = Field(
        default=elsewhere.ANSWER_BYTES, ge=1, le=100_000_000, description="Bytes of an answer at most."
    )
    retries: float = Field(default=elsewhere.RETRIES, ge=0, le=1, description="Second tries for each request, at most.")
    failures: int = Field(default=elsewhere.FAILURES, ge=1, description="After so many in a row it is left alone.")
    pause: Span = Field(
        default=elsewhere.PAUSE_US, description="For so long; twice as long each time.", examples=["5s"]
    )
