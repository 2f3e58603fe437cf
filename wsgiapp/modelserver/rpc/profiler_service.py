"""`tensorflow.ProfilerService`: what `tf.profiler.experimental.client.trace` and TensorBoard's "Capture profile" call.

TF Serving writes the trace into the folder that the client names. Here the trace is in the answer, and the client
writes it: TensorFlow's does (`SaveProfile`), into the same folder and under the same name, and no client chooses a path
of the server's.
"""

import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc

from wsgiapp.modelserver.errors import ServingError, aborting, invalid_argument
from wsgiapp.modelserver.rpc.profiler_messages import (
    ProfileRequest,
    ProfileResponse,
    TerminateRequest,
    TerminateResponse,
)
from wsgiapp.modelserver.servables import runtime
from wsgiapp.modelserver.servables.saved_model import GRPC_CODES

SERVICE = "tensorflow.ProfilerService"
TRACE_FILE = "xplane.pb"  # the client puts the server's address before it
MAX_SECONDS = 600.0  # a trace grows in memory until it ends
DEFAULT_LEVELS: Mapping[str, int] = {"host_tracer_level": 2, "device_tracer_level": 1}  # `ProfilerOptions`


class ProfilerService:
    """Profile and Terminate. TensorFlow has one profiler a process, so that there is one session at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._session_id: str | None = None
        self._stop = threading.Event()  # ends the session
        self._draining = False

    def handler(self) -> grpc.GenericRpcHandler:
        """For a server; Monitor, which TensorFlow itself implements for TPUs alone, is answered as by TensorFlow."""
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "Profile": _unary(self._profile, ProfileRequest),
                "Terminate": _unary(self._terminate, TerminateRequest),
                "Monitor": _unary(_monitor, None),
            },
        )

    def drain(self) -> None:
        """End the session, whose client gets what was recorded so far, and take no other."""
        with self._lock:
            self._draining = True
            self._stop.set()

    def _profile(self, request: Any, context: grpc.ServicerContext) -> Any:
        with aborting(context), self._session(request.session_id) as stop:
            seconds = request.opts.duration_ms / 1000
            if seconds > MAX_SECONDS:
                raise invalid_argument(f"opts.duration_ms is more than {MAX_SECONDS * 1000:.0f}: trace a shorter time")
            context.add_callback(stop.set)
            stop.wait(_delay(request.opts))
            trace = _recorded(_levels(request.opts), lambda: stop.wait(seconds))
        response = ProfileResponse(empty_trace=not runtime.has_events(trace))
        if request.emit_xspace:
            response.xspace = trace
        else:
            response.tool_data.add(name=TRACE_FILE, data=trace)
        return response

    def _terminate(self, request: Any, context: grpc.ServicerContext) -> Any:
        with self._lock:
            if request.session_id == self._session_id:
                self._stop.set()
        return TerminateResponse()

    @contextmanager
    def _session(self, session_id: str) -> Iterator[threading.Event]:
        """The one session; what is yielded is set when it has to end. Raises `ServingError`."""
        with self._lock:
            if self._draining:
                raise ServingError(grpc.StatusCode.UNAVAILABLE, "the model server is about to end")
            if self._session_id is not None:
                raise ServingError(grpc.StatusCode.ALREADY_EXISTS, "Another profiling session active.")
            self._session_id = session_id
            self._stop = threading.Event()
        try:
            yield self._stop
        finally:
            with self._lock:
                self._session_id = None


def _recorded(levels: Mapping[str, int], wait: Callable[[], object]) -> bytes:
    """What TensorFlow records during `wait`, as a serialized XSpace. Raises `ServingError`.

    It gives it as a file in a folder only; in memory it has the shorter format of trace_events.
    """
    with tempfile.TemporaryDirectory(prefix="wsgiapp-profile-") as folder:
        session = runtime.profiler_session()
        try:
            session.start(folder, dict(levels))
            wait()
            session.export_to_tb()
        except runtime.errors.OpError as exc:
            raise ServingError(GRPC_CODES[exc.error_code], exc.message) from exc
        (file,) = Path(folder).rglob(f"*.{TRACE_FILE}")
        return file.read_bytes()


def _levels(options: Any) -> dict[str, int]:
    """How much is recorded. Never Python's functions: the hooks for them slow down and may crash other threads."""
    sent = {name: getattr(options, name) for name in DEFAULT_LEVELS} if options.version else DEFAULT_LEVELS
    return {**sent, "python_tracer_level": 0}


def _delay(options: Any) -> float:
    """Seconds until several servers begin at the same time; clients always send one, of now or a little later."""
    return min(max(0.0, options.start_timestamp_ns / 1e9 - time.time()), MAX_SECONDS)


def _monitor(request: bytes, context: grpc.ServicerContext) -> None:
    context.abort(grpc.StatusCode.UNIMPLEMENTED, "unimplemented.")


def _unary(behavior: Callable[[Any, grpc.ServicerContext], Any], request: Any) -> grpc.RpcMethodHandler:
    return grpc.unary_unary_rpc_method_handler(
        behavior,
        request_deserializer=request and request.FromString,
        response_serializer=lambda response: response.SerializeToString(),
    )
