"""A TensorFlow Lite interpreter in a process of its own, for inputs of other sizes than the model's.

TF Serving resizes a model's inputs to whatever is sent. But not every operation of TensorFlow Lite checks what it gets:
of 44 operations that were tried with random sizes, 12 ended the process or read beyond their tensors (2.21, with and
without XNNPACK). So such a call may end this process, and not the model server.

    TfliteSandbox   the model server's side; the process is started by the first call that needs it
    main            the process: requests and responses are TF Serving's messages, over a socket, until that is closed
"""

import logging
import subprocess
import sys
import threading
from collections.abc import Mapping
from multiprocessing.connection import Connection, Pipe
from typing import NamedTuple

import grpc

from wsgiapp.modelserver.errors import ServingError, invalid_argument
from wsgiapp.modelserver.servables import runtime
from wsgiapp.modelserver.servables.tensors import decode_input, fill_output, shape_text
from wsgiapp.modelserver.servables.tflite_procedures import procedures, stored_signatures
from wsgiapp.tfserving.messages import PredictRequest, PredictResponse, SignatureDef
from wsgiapp.tfserving.tensors import Arrays

log = logging.getLogger(__name__)

ANSWERED, REJECTED = b"\0", b"\1"  # before a PredictResponse, and before an error's text
MAX_REMEMBERED = 1000
# Calls that wait for the process keep threads of the server from others.
WAIT_SECONDS = 10.0
END_SECONDS = 2.0


class _Child(NamedTuple):
    process: "subprocess.Popen[bytes]"
    connection: Connection

    def end(self) -> None:
        self.connection.close()
        try:
            self.process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class TfliteSandbox:
    """Runs one call at a time. A call that ends the process is an error of the client's, and is not tried again."""

    def __init__(self, content: bytes, signatures: Mapping[str, SignatureDef], *, threads: int) -> None:
        self._content = content
        self._signatures = signatures
        self._threads = threads
        self._lock = threading.Lock()
        self._child: _Child | None = None
        self._fatal: set[str] = set()

    def run(self, key: str, arrays: Arrays) -> Arrays:
        """The outputs of a signature by their aliases. Raises `ServingError`."""
        infos = self._signatures[key].inputs
        shapes = ", ".join(f"{alias} {shape_text(array)}" for alias, array in sorted(arrays.items()))
        request = PredictRequest()
        request.model_spec.signature_name = key
        for alias, array in arrays.items():
            fill_output(request.inputs[alias], array, infos[alias].dtype, alias, tensor_content=True)
        if not self._lock.acquire(timeout=WAIT_SECONDS):
            raise ServingError(
                grpc.StatusCode.UNAVAILABLE, f"other calls with inputs of unusual sizes hold {shapes} up"
            )
        try:
            answer = self._answer(f"{key}: {shapes}", request.SerializeToString())
        finally:
            self._lock.release()
        if answer[:1] != ANSWERED:
            reason = answer[1:].decode() or "an operation does not take them"
            raise invalid_argument(f"the model cannot run on inputs of {shapes}: {reason}")
        outputs = PredictResponse.FromString(answer[1:]).outputs
        return {alias: decode_input(tensor, alias) for alias, tensor in outputs.items()}

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._end()

    # Under the lock.

    def _answer(self, call: str, request: bytes) -> bytes:
        if call in self._fatal:
            return REJECTED
        if self._child is None:
            self._child = self._start()
        child = self._child
        try:
            child.connection.send_bytes(request)
            return child.connection.recv_bytes()
        except (EOFError, OSError):
            self._end()
            log.error("a TensorFlow Lite interpreter ended with %s on %s", child.process.returncode, call)
            if len(self._fatal) < MAX_REMEMBERED:
                self._fatal.add(call)
            return REJECTED

    def _start(self) -> _Child:
        ours, theirs = Pipe()
        with theirs:
            command = [sys.executable, "-m", __name__, str(theirs.fileno()), str(self._threads)]
            # A session of its own: a signal to the server's group must not end what the drain waits for.
            process = subprocess.Popen(command, pass_fds=[theirs.fileno()], start_new_session=True)
        child = _Child(process, ours)
        try:
            ours.send_bytes(self._content)
            ours.recv_bytes()  # it is ready
        except (EOFError, OSError) as exc:
            child.end()
            problem = "the process for inputs of unusual sizes could not be started; the log says why"
            raise ServingError(grpc.StatusCode.UNAVAILABLE, problem) from exc
        return child

    def _end(self) -> None:
        if self._child is not None:
            self._child.end()
            self._child = None


def main(descriptor: str, threads: str) -> None:
    """Answer requests until the model server closes its end of the socket, or ends."""
    connection = Connection(int(descriptor))
    content = connection.recv_bytes()
    stored = stored_signatures(content)
    connection.send_bytes(b"ready")
    while True:
        try:
            request = PredictRequest.FromString(connection.recv_bytes())
        except (EOFError, OSError):
            return
        try:
            outputs = _run(content, int(threads), stored, request)
        except (ValueError, RuntimeError) as exc:
            connection.send_bytes(REJECTED + str(exc).strip().partition("\n")[0].encode())
        else:
            connection.send_bytes(ANSWERED + outputs.SerializeToString())


def _run(content: bytes, threads: int, stored: Mapping[str, SignatureDef], request: PredictRequest) -> PredictResponse:
    """Run the signature on two interpreters: TensorFlow Lite's own operations check sizes that XNNPACK's do not.

    They are made anew: one that failed may be half set up, and nothing of a call may be seen by the next one.
    Raises what they raise.
    """
    inputs = {alias: decode_input(tensor, alias) for alias, tensor in request.inputs.items()}
    values: Arrays = {}
    for delegates in (False, True):
        interpreter = runtime.lite_interpreter(content, threads, delegates=delegates)
        procedure = procedures(interpreter, stored)[request.model_spec.signature_name]
        before, values = values, procedure.run(inputs)
        if any(values[alias].shape != other.shape for alias, other in before.items()):
            raise ValueError("the sizes of its outputs are not defined for them")
    infos = procedure.signature.outputs
    response = PredictResponse()
    for alias, value in values.items():
        fill_output(response.outputs[alias], value, infos[alias].dtype, alias, tensor_content=True)
    return response


if __name__ == "__main__":
    main(*sys.argv[1:])
