"""KServe's own REST and gRPC clients against a served toy model."""

from __future__ import annotations

import logging

import numpy as np
from checks import SETTINGS, run_all
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.protocol.infer_type import RequestedOutput

logging.disable(logging.CRITICAL)
BASE = f"http://127.0.0.1:{SETTINGS['http']}"
GRPC = f"127.0.0.1:{SETTINGS['grpc']}"
AUTH = {"Authorization": f"Bearer {SETTINGS['token']}"}
META = (("authorization", AUTH["Authorization"]),)


def rest() -> InferenceRESTClient:
    return InferenceRESTClient(RESTConfig(protocol="v2", retries=0, timeout=10))


def rows(binary: bool = False) -> list[InferInput]:
    tenure = InferInput("tenure", [2], "INT64")
    tenure.set_data_from_numpy(np.array([12, 1], np.int64), binary_data=binary)
    charges = InferInput("charges", [2], "FP64")
    charges.set_data_from_numpy(np.array([50.0, 100.0]), binary_data=binary)
    contract = InferInput("contract", [2], "BYTES")
    contract.set_data_from_numpy(np.array(["Two year", "Ü"], np.object_), binary_data=binary)
    return [tenure, charges, contract]


def right(found: object) -> None:
    np.testing.assert_allclose(found, [0.17, 0.11], atol=1e-9)


async def check_rest_health() -> None:
    client = rest()
    assert await client.is_server_live(BASE) is True
    assert await client.is_server_ready(BASE) is True
    assert await client.is_model_ready(BASE, "churn", headers=dict(AUTH)) is True


async def check_rest_json() -> None:
    found = await rest().infer(BASE, InferRequest("churn", rows()), model_name="churn", headers=dict(AUTH))
    assert found.model_name == "churn"
    right(found.outputs[0].as_numpy())


async def check_rest_binary() -> None:
    request = InferRequest(
        "churn", rows(binary=True), request_outputs=[RequestedOutput("churn", {"binary_data": True})], request_id="mine"
    )
    headers: dict[str, str] = {}
    found = await rest().infer(BASE, request, model_name="churn", headers=dict(AUTH), response_headers=headers)
    assert found.id == "mine"
    right(found.outputs[0].as_numpy())
    assert headers["mainstay-version"] == "1"


async def check_rest_errors_are_told() -> None:
    try:
        await rest().infer(BASE, InferRequest("churn", rows()[:1]), model_name="nothing", headers=dict(AUTH))
    except Exception as error:
        assert "no model" in str(error), error
        return
    raise AssertionError("answered")


async def check_rest_by_key() -> None:
    key = InferInput("customer_id", [1], "BYTES")
    key.set_data_from_numpy(np.array(["A"], np.object_), binary_data=False)
    found = await rest().infer(BASE, InferRequest("churn", [key]), model_name="churn", headers=dict(AUTH))
    np.testing.assert_allclose(found.outputs[0].as_numpy(), [0.17])


async def check_grpc() -> None:
    client = InferenceGRPCClient(GRPC, timeout=10)
    assert await client.is_server_live() is True
    assert await client.is_server_ready() is True
    assert await client.is_model_ready("churn", headers=META) is True
    right((await client.infer(InferRequest("churn", rows()), headers=META)).outputs[0].as_numpy())
    await client.close()


async def check_grpc_raw() -> None:
    client = InferenceGRPCClient(GRPC, timeout=10)
    right((await client.infer(InferRequest("churn", rows(binary=True)), headers=META)).outputs[0].as_numpy())
    await client.close()


async def check_grpc_needs_a_key() -> None:
    client = InferenceGRPCClient(GRPC, timeout=10)
    try:
        await client.infer(InferRequest("churn", rows()))
    except Exception as error:
        assert "API key" in str(error), error
    else:
        raise AssertionError("answered")
    await client.close()


if __name__ == "__main__":
    run_all(dict(globals()))
