"""tritonclient over gRPC against a served toy model."""

from __future__ import annotations

import contextlib
import queue

import numpy as np
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from checks import SETTINGS, run_all
from tritonclient.utils import InferenceServerException

import grpc

URL = f"127.0.0.1:{SETTINGS['grpc']}"
AUTH = {"authorization": f"Bearer {SETTINGS['token']}"}
client = triton.InferenceServerClient(URL)


def rows() -> list[triton.InferInput]:
    tenure = triton.InferInput("tenure", [3], "INT64")
    tenure.set_data_from_numpy(np.array([12, 1, 2], np.int64))
    charges = triton.InferInput("charges", [3], "FP16")
    charges.set_data_from_numpy(np.array([50, 100, 10], np.float16))
    contract = triton.InferInput("contract", [3], "BYTES")
    contract.set_data_from_numpy(np.array([b"Two year", "Ü".encode(), b""], np.object_))
    return [tenure, charges, contract]


def right(found: object) -> None:
    np.testing.assert_allclose(found, [0.17, 0.11, 0.03], atol=1e-9)


def check_health() -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("churn", headers=dict(AUTH))


def check_metadata() -> None:
    assert client.get_server_metadata(headers=dict(AUTH)).name == "mainstay"
    model = client.get_model_metadata("churn", headers=dict(AUTH))
    assert list(model.versions) == ["1"]
    assert [(one.name, one.datatype, list(one.shape)) for one in model.inputs] == [
        ("tenure", "INT64", [-1]), ("charges", "FP64", [-1]), ("contract", "BYTES", [-1]),
    ]  # fmt: skip
    index = client.get_model_repository_index(headers=dict(AUTH))
    assert [(one.name, one.version, one.state) for one in index.models] == [("churn", "1", "READY")]


def check_infer() -> None:
    found = client.infer("churn", rows(), headers=dict(AUTH), request_id="mine")
    right(found.as_numpy("churn"))
    said = found.get_response()
    assert said.id == "mine"
    assert said.model_version == "1"
    assert len(said.parameters["receipt"].string_param.split(",")) == 3


def check_by_key() -> None:
    key = triton.InferInput("customer_id", [1], "BYTES")
    key.set_data_from_numpy(np.array([b"A"], np.object_))
    found = client.infer("churn", [key], headers=dict(AUTH), outputs=[triton.InferRequestedOutput("churn")])
    np.testing.assert_allclose(found.as_numpy("churn"), [0.17])
    assert found.get_response().parameters["verdict"].string_param == "PASS"


def check_compressed() -> None:
    for kind in ("gzip", "deflate"):
        right(client.infer("churn", rows(), headers=dict(AUTH), compression_algorithm=kind).as_numpy("churn"))


def check_stream() -> None:
    answers: queue.Queue[tuple[object, object]] = queue.Queue()
    client.start_stream(lambda result, error: answers.put((result, error)), headers=dict(AUTH))
    wrong = triton.InferInput("tenure", [1], "BYTES")
    wrong.set_data_from_numpy(np.array([b"twelve"], np.object_))
    for request in (rows(), [wrong], rows()):
        client.async_stream_infer("churn", request)
    found = [answers.get(timeout=10) for _ in range(3)]
    client.stop_stream()
    right(found[0][0].as_numpy("churn"))
    assert "tenure" in str(found[1][1])
    right(found[2][0].as_numpy("churn"))


def check_async_on_threads() -> None:
    answers: queue.Queue[tuple[object, object]] = queue.Queue()
    for _ in range(8):
        client.async_infer("churn", rows(), lambda result, error: answers.put((result, error)), headers=dict(AUTH))
    for _ in range(8):
        result, error = answers.get(timeout=10)
        assert error is None
        right(result.as_numpy("churn"))


def check_errors_have_their_status() -> None:
    wrong = triton.InferInput("tenure", [1], "BYTES")
    wrong.set_data_from_numpy(np.array([b"twelve"], np.object_))
    key = triton.InferInput("customer_id", [1], "BYTES")
    key.set_data_from_numpy(np.array([b"nobody"], np.object_))
    for act, status, text in (
        (lambda: client.infer("churn", [wrong], headers=dict(AUTH)), "INVALID_ARGUMENT", "tenure"),
        (lambda: client.infer("churn", [key], headers=dict(AUTH)), "NOT_FOUND", "no row"),
        (lambda: client.infer("nothing", rows(), headers=dict(AUTH)), "NOT_FOUND", "no model"),
        (lambda: client.infer("churn", rows(), model_version="9", headers=dict(AUTH)), "NOT_FOUND", "version"),
        (lambda: client.infer("churn", rows()), "UNAUTHENTICATED", "API key"),
        (lambda: client.get_server_metadata(), "UNAUTHENTICATED", "API key"),
        (lambda: client.get_model_config("churn", headers=dict(AUTH)), "UNIMPLEMENTED", "not supported"),
        (lambda: client.load_model("churn", headers=dict(AUTH)), "UNIMPLEMENTED", "not supported"),
        (lambda: client.get_inference_statistics(headers=dict(AUTH)), "UNIMPLEMENTED", "not supported"),
        (lambda: client.get_system_shared_memory_status(headers=dict(AUTH)), "UNIMPLEMENTED", "not supported"),
        (lambda: client.get_trace_settings(headers=dict(AUTH)), "UNIMPLEMENTED", "not supported"),
    ):
        try:
            act()
        except InferenceServerException as error:
            assert error.status() == f"StatusCode.{status}", (error, status)
            assert text in error.message(), error
        else:
            raise AssertionError(f"answered where {status} was due")


def check_an_unauthenticated_stream_is_refused() -> None:
    other = triton.InferenceServerClient(URL)
    answers: queue.Queue[tuple[object, object]] = queue.Queue()
    other.start_stream(lambda result, error: answers.put((result, error)))
    with contextlib.suppress(InferenceServerException):  # the client may have been told already
        other.async_stream_infer("churn", rows())
    assert "API key" in str(answers.get(timeout=10)[1])
    other.stop_stream(cancel_requests=True)
    other.close()


def check_typed_contents() -> None:
    """What other clients send in place of bytes."""
    from tritonclient.grpc import service_pb2, service_pb2_grpc

    request = service_pb2.ModelInferRequest(model_name="churn")
    request.inputs.add(name="tenure", datatype="INT32", shape=[2]).contents.int_contents.extend([12, 1])
    request.inputs.add(name="charges", datatype="FP32", shape=[2, 1]).contents.fp32_contents.extend([50, 100])
    request.inputs.add(name="contract", datatype="BYTES", shape=[2]).contents.bytes_contents.extend([b"a", b"b"])
    with grpc.insecure_channel(URL) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        found = stub.ModelInfer(request, metadata=tuple(AUTH.items()))
    np.testing.assert_allclose(np.frombuffer(found.raw_output_contents[0], "<f8"), [0.17, 0.11])


async def check_asyncio() -> None:
    async with triton_aio.InferenceServerClient(URL) as other:
        assert await other.is_server_ready()
        right((await other.infer("churn", rows(), headers=dict(AUTH))).as_numpy("churn"))


if __name__ == "__main__":
    run_all(dict(globals()))
