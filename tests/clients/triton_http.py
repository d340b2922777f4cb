"""tritonclient over HTTP against a served toy model: what a program written for Triton does, unchanged."""

from __future__ import annotations

import numpy as np
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
from checks import SETTINGS, run_all
from tritonclient.utils import InferenceServerException

URL = f"127.0.0.1:{SETTINGS['http']}"
AUTH = {"Authorization": f"Bearer {SETTINGS['token']}"}
client = triton.InferenceServerClient(URL)


def rows(binary: bool = True) -> list[triton.InferInput]:
    tenure = triton.InferInput("tenure", [3], "INT64")
    tenure.set_data_from_numpy(np.array([12, 1, 2], np.int64), binary_data=binary)
    charges = triton.InferInput("charges", [3], "FP32")
    charges.set_data_from_numpy(np.array([50, 100, 10], np.float32), binary_data=binary)
    contract = triton.InferInput("contract", [3], "BYTES")
    contract.set_data_from_numpy(np.array([b"Two year", "Ü".encode(), b""], np.object_), binary_data=binary)
    return [tenure, charges, contract]


WANTED = [0.17, 0.11, 0.03]


def right(found: object) -> None:
    np.testing.assert_allclose(found, WANTED, atol=1e-9)


def check_health() -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("churn", headers=dict(AUTH))
    assert client.is_model_ready("churn", "1", headers=dict(AUTH))
    assert not client.is_model_ready("other", headers=dict(AUTH))
    assert not client.is_model_ready("churn", "77", headers=dict(AUTH))


def check_metadata() -> None:
    found = client.get_server_metadata(headers=dict(AUTH))
    assert found["name"] == "mainstay"
    assert "binary_tensor_data" in found["extensions"]
    model = client.get_model_metadata("churn", headers=dict(AUTH))
    assert model["versions"] == ["1"]
    assert [(one["name"], one["datatype"], one["shape"]) for one in model["inputs"]] == [
        ("tenure", "INT64", [-1]), ("charges", "FP64", [-1]), ("contract", "BYTES", [-1]),
    ]  # fmt: skip
    assert model["outputs"] == [{"name": "churn", "datatype": "FP64", "shape": [-1]}]
    assert client.get_model_repository_index(headers=dict(AUTH))[0] == {
        "name": "churn", "version": "1", "state": "READY", "reason": "",
    }  # fmt: skip


def check_default_binary_tensors() -> None:
    found = client.infer("churn", rows(), headers=dict(AUTH), request_id="mine")
    right(found.as_numpy("churn"))
    said = found.get_response()
    assert said["id"] == "mine"
    assert said["model_name"] == "churn"
    assert said["model_version"] == "1"
    assert len(said["parameters"]["receipt"].split(",")) == 3
    assert said["outputs"][0]["parameters"]["binary_data_size"] == 24


def check_json_tensors() -> None:
    outputs = [triton.InferRequestedOutput("churn", binary_data=False)]
    found = client.infer("churn", rows(binary=False), outputs=outputs, headers=dict(AUTH))
    right(found.as_numpy("churn"))
    np.testing.assert_allclose(found.get_response()["outputs"][0]["data"], WANTED, atol=1e-9)


def check_mixed_json_and_binary() -> None:
    tenure, charges, contract = rows()
    charges.set_data_from_numpy(np.array([50, 100, 10], np.float32), binary_data=False)
    outputs = [triton.InferRequestedOutput("churn", binary_data=True)]
    right(client.infer("churn", [tenure, charges, contract], outputs=outputs, headers=dict(AUTH)).as_numpy("churn"))


def check_compressed_bodies() -> None:
    for kind in ("gzip", "deflate"):
        found = client.infer(
            "churn",
            rows(),
            headers=dict(AUTH),
            request_compression_algorithm=kind,
            response_compression_algorithm=kind,
        )
        right(found.as_numpy("churn"))


def check_many_rows_compressed_back() -> None:
    count = 1000
    tenure = triton.InferInput("tenure", [count, 1], "INT32")
    tenure.set_data_from_numpy(np.arange(count, dtype=np.int32).reshape(-1, 1))
    outputs = [triton.InferRequestedOutput("churn", binary_data=False)]
    found = client.infer("churn", [tenure], outputs=outputs, headers=dict(AUTH), response_compression_algorithm="gzip")
    np.testing.assert_allclose(found.as_numpy("churn"), np.arange(count) / 100)


def check_every_number_type() -> None:
    kinds = ["INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64", "FP16", "FP32", "FP64"]
    types = [np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64]
    types += [np.float16, np.float32, np.float64]
    for kind, dtype in zip(kinds, types, strict=True):
        for binary in (True, False) if kind != "FP16" else (True,):
            tenure = triton.InferInput("tenure", [2], kind)
            tenure.set_data_from_numpy(np.array([7, 100], dtype), binary_data=binary)
            found = client.infer("churn", [tenure], headers=dict(AUTH)).as_numpy("churn")
            np.testing.assert_allclose(found, [0.07, 1.0], atol=1e-9, err_msg=f"{kind} {binary}")


def check_nan_is_null() -> None:
    for binary in (True, False):
        charges = triton.InferInput("charges", [2], "FP64")
        charges.set_data_from_numpy(np.array([np.nan, 100.0]), binary_data=binary)
        found = client.infer("churn", [charges], headers=dict(AUTH)).as_numpy("churn")
        np.testing.assert_allclose(found, [0.0, 0.1], atol=1e-9)


def check_by_key() -> None:
    key = triton.InferInput("customer_id", [1], "BYTES")
    key.set_data_from_numpy(np.array([b"A"], np.object_))
    found = client.infer("churn", [key], headers=dict(AUTH))
    np.testing.assert_allclose(found.as_numpy("churn"), [0.17])
    told = found.get_response()["parameters"]
    assert told["verdict"] == "PASS"
    assert told["age_seconds"] >= 0
    assert told["degraded"] is False
    assert told["as_of"].endswith("Z") or "+" in told["as_of"]


def check_an_unknown_key_is_an_error_with_its_reason() -> None:
    key = triton.InferInput("customer_id", [2], "BYTES")
    key.set_data_from_numpy(np.array([b"A", b"nobody"], np.object_))
    try:
        client.infer("churn", [key], headers=dict(AUTH))
    except InferenceServerException as error:
        assert error.status() == "404", error
        assert "row 1" in error.message(), error
    else:
        raise AssertionError("answered")


def check_requested_outputs_and_unknown_ones() -> None:
    try:
        client.infer("churn", rows(), outputs=[triton.InferRequestedOutput("chrun")], headers=dict(AUTH))
    except InferenceServerException as error:
        assert "did you mean `churn`" in error.message(), error
    else:
        raise AssertionError("answered")


def check_errors_are_read_by_the_client() -> None:
    wrong = triton.InferInput("tenure", [1], "BYTES")
    wrong.set_data_from_numpy(np.array([b"twelve"], np.object_))
    for act, status, text in (
        (lambda: client.infer("churn", [wrong], headers=dict(AUTH)), "422", "tenure"),
        (lambda: client.infer("nothing", rows(), headers=dict(AUTH)), "404", "no model"),
        (lambda: client.infer("churn", rows(), model_version="9", headers=dict(AUTH)), "404", "version"),
        (lambda: client.infer("churn", rows()), "401", "API key"),
        (lambda: client.get_model_metadata("nothing", headers=dict(AUTH)), "404", "no model"),
        (lambda: client.get_model_config("churn", headers=dict(AUTH)), "501", "not supported"),
        (lambda: client.load_model("churn", headers=dict(AUTH)), "501", "not supported"),
        (lambda: client.unload_model("churn", headers=dict(AUTH)), "501", "not supported"),
        (lambda: client.get_inference_statistics(headers=dict(AUTH)), "501", "not supported"),
        (lambda: client.get_system_shared_memory_status(headers=dict(AUTH)), "501", "not supported"),
        (
            lambda: client.infer("churn", rows(), sequence_id=5, sequence_start=True, headers=dict(AUTH)),
            "422",
            "sequence_id",
        ),
    ):
        try:
            act()
        except InferenceServerException as error:
            assert error.status() == status, (error, status)
            assert text in error.message(), error
        else:
            raise AssertionError(f"answered where {status} was due")


def check_versions_are_addressed() -> None:
    assert client.infer("churn", rows(), model_version="1", headers=dict(AUTH)).get_response()["model_version"] == "1"


def check_async_on_threads() -> None:
    waiting = [client.async_infer("churn", rows(), headers=dict(AUTH)) for _ in range(8)]
    for one in waiting:
        right(one.get_result().as_numpy("churn"))


async def check_asyncio() -> None:
    async with triton_aio.InferenceServerClient(URL) as other:
        assert await other.is_server_ready()
        right((await other.infer("churn", rows(), headers=dict(AUTH))).as_numpy("churn"))
        right((await other.infer("churn", rows(binary=False), headers=dict(AUTH))).as_numpy("churn"))


if __name__ == "__main__":
    run_all(dict(globals()))
