"""Ask the model server itself over gRPC, past the gateway, without TensorFlow in the client.

Usage: python scripts/clients/with_grpc.py [HOST:PORT]   (default: 127.0.0.1:8500)

`wsgiapp.tfserving.messages` imports TensorFlow Serving's messages without TensorFlow, which takes 4.5 s and half a
gigabyte;
`wsgiapp.tfserving.tensors` stands in for its `make_tensor_proto` and `make_ndarray`.
"""

import argparse

import grpc
import numpy as np

from wsgiapp.tfserving.messages import GetModelStatusRequest, ModelVersionStatus, PredictRequest
from wsgiapp.tfserving.stubs import ModelServiceStub, PredictionServiceStub
from wsgiapp.tfserving.tensors import decode_tensor, encode_tensor

# The default of 4 MB is less than one large picture. A channel is made once and shared by all threads.
OPTIONS = [
    ("grpc.max_send_message_length", 64 * 2**20),
    ("grpc.max_receive_message_length", 64 * 2**20),
    ("grpc.enable_http_proxy", 0),  # a proxy of the environment would look for 127.0.0.1 on itself
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address", nargs="?", default="127.0.0.1:8500")
    with grpc.insecure_channel(parser.parse_args().address, options=OPTIONS) as channel:
        try:
            ask(channel)
        except grpc.RpcError as exc:
            raise SystemExit(f"no answer: {exc.code().name}: {exc.details()}") from exc


def ask(channel: grpc.Channel) -> None:
    """A model's versions, a prediction, and an error."""
    status = GetModelStatusRequest()
    status.model_spec.name = "lstm"
    for each in ModelServiceStub(channel).GetModelStatus(status, timeout=5).model_version_status:
        print(f"lstm version {each.version} is {ModelVersionStatus.State.Name(each.state)}")

    request = PredictRequest()
    request.model_spec.name = "lstm"  # and .version.value, or .version_label; neither: the newest
    request.model_spec.signature_name = "serving_default"
    words = np.array([["非常".encode(), "讨厌".encode()]], dtype=object)  # strings are bytes in an object array
    request.inputs["words"].CopyFrom(encode_tensor(words))
    request.inputs["nwords"].CopyFrom(encode_tensor(np.array([2], np.int32)))
    predictions = PredictionServiceStub(channel)
    response = predictions.Predict(request, timeout=10)
    outputs = {name: decode_tensor(tensor) for name, tensor in response.outputs.items()}
    print(f"version {response.model_spec.version.value}:", outputs["labels"][0].decode(), outputs["softmax"][0])

    request.model_spec.version.value = 999
    try:
        predictions.Predict(request, timeout=10)
    except grpc.RpcError as exc:
        print(f"rejected: {exc.code().name}: {exc.details()}")


if __name__ == "__main__":
    main()
