"""`Listener`: one gRPC server at one address, with the calls that clients there may make, and threads for them."""

import logging
import os
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import grpc

from wsgiapp.errors import SettingsError
from wsgiapp.modelserver.lifecycle.config_reloads import MAX_PENDING_RELOADS
from wsgiapp.modelserver.rpc.admission import MAX_WAITING
from wsgiapp.settings.constraints import MAX_SOCKET_PATH_BYTES

log = logging.getLogger(__name__)

UNIX = "unix:"
#: What clients of the port may call where management is at the socket alone; whatever else there may be is not open.
PREDICTIONS = re.compile(r"/tensorflow\.serving\.PredictionService/(?!GetModelMetadata$)\w+")
STATUS = re.compile(
    r"/tensorflow\.serving\.(PredictionService/GetModelMetadata|ModelService/GetModelStatus)|/grpc\.health\.v1\.Health/\w+"
)
#: Calls that may take minutes.
LONG = re.compile(r"/tensorflow\.serving\.ModelService/HandleReloadConfigRequest|/tensorflow\.ProfilerService/\w+")
NOT_HERE = (
    "{method} changes or reveals what the model server runs, and is answered on its Unix socket only; "
    "--management=all (in a stack the setting backend.management) opens it to every client of this port"
)
# Calls hold a thread while they wait for their slot: these are for four models with full queues, and what runs.
PREDICTION_THREADS = 4 * MAX_WAITING + 64
STATUS_THREADS = 64  # started when they are needed, as all of these
LONG_THREADS = MAX_PENDING_RELOADS + 2


class Listener:
    """A server of its own for each address: clients of one cannot take the threads of another one.

    Predictions, what is answered at once (health, states, metadata, configuration), and what may take minutes (reloads,
    traces) have threads of their own.
    """

    def __init__(
        self,
        address: str,
        *,
        manages: bool,
        slots: int = 0,
        options: Sequence[tuple[str, int | str]] = (),
        interceptors: Sequence[Any] = (),
    ) -> None:
        """`address` is host:port or unix:/path; without `manages` only predictions and status are answered there.

        `slots` are those of `Admission`.
        """
        self.address = address
        self._socket: tuple[Path, int] | None = None
        pools = {STATUS: _Threads(STATUS_THREADS, "status"), LONG: _Threads(LONG_THREADS, "management")}
        self.server = grpc.server(
            _Threads(PREDICTION_THREADS + slots, "call"),
            options=list(options),
            interceptors=[_Pools(pools, manages), *interceptors],
        )

    def open(self, tls: grpc.ServerCredentials | None = None) -> None:
        """Listen and serve. Raises `SettingsError` for too long a path, `RuntimeError` for a port that is taken.

        A socket is for this user and its group. It takes the place of another server's in one step, so that clients
        find either of them while one follows the other.
        """
        path = Path(self.address.removeprefix(UNIX)) if self.address.startswith(UNIX) else None
        beside = path.with_name(f".{os.getpid()}") if path else None
        if max((len(os.fsencode(each)) for each in (path, beside) if each), default=0) > MAX_SOCKET_PATH_BYTES:
            limit = f"longer than the {MAX_SOCKET_PATH_BYTES} bytes that a Unix socket's path can have"
            raise SettingsError(f"--grpc_socket_path={path}: {limit}; use a shorter one")
        address = f"{UNIX}{beside}" if beside else self.address
        if tls is None:
            self.server.add_insecure_port(address)
        else:
            self.server.add_secure_port(address, tls)
        if path and beside:
            os.chown(beside, -1, os.getegid())  # whatever group its folder gives to what is made there
            beside.chmod(0o660)
            self._socket = path, beside.stat().st_ino
            beside.replace(path)
        self.server.start()

    def stop(self, seconds: float) -> threading.Event:
        """Accept nothing more, and end what takes longer; what is returned is set when all has ended."""
        if self._socket:
            path, inode = self._socket
            with suppress(FileNotFoundError):
                if path.stat().st_ino == inode:  # and not that of a successor
                    path.unlink()
        stopped: threading.Event = self.server.stop(seconds)
        return stopped


class _Threads(ThreadPoolExecutor):
    """Where the system gives no more threads, those that are there take the call: gRPC would end with the error."""

    def __init__(self, threads: int, name: str) -> None:
        super().__init__(max_workers=threads, thread_name_prefix=name)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        try:
            return super().submit(fn, *args, **kwargs)
        except RuntimeError as exc:  # the call is in the queue by then
            if self._shutdown or not self._threads:
                raise
            log.warning("no further thread for calls: %s", exc)
            return Future()


class _Pools(grpc.ServerInterceptor):
    """Hands calls to their threads, before their messages are read, and rejects those that are not open here."""

    def __init__(self, pools: Mapping["re.Pattern[str]", ThreadPoolExecutor], manages: bool) -> None:
        self._pools = pools
        self._rest = pools[STATUS]  # what is neither a prediction nor long
        self._manages = manages
        self._handlers: dict[str, grpc.RpcMethodHandler] = {}  # of the methods that exist

    def intercept_service(
        self, continuation: Callable[[Any], grpc.RpcMethodHandler | None], details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler | None:
        method = details.method
        known = self._handlers.get(method)
        if known is not None:
            return known
        handler = continuation(details)
        if handler is None:
            return None
        if not self._manages and not PREDICTIONS.fullmatch(method) and not STATUS.fullmatch(method):
            handler = grpc.unary_unary_rpc_method_handler(partial(_not_here, method))
        if not PREDICTIONS.fullmatch(method):
            handler = self._on_own_threads(method, handler)
        self._handlers[method] = handler
        return handler

    def _on_own_threads(self, method: str, handler: Any) -> grpc.RpcMethodHandler:
        kind = "unary_unary" if handler.unary_unary else "unary_stream"
        behavior: Any = partial(getattr(handler, kind))
        behavior.experimental_thread_pool = next(
            (pool for methods, pool in self._pools.items() if methods.fullmatch(method)), self._rest
        )
        # Of the health service's Watch: its answers are sent whenever they come, and hold no thread.
        behavior.experimental_non_blocking = getattr(getattr(handler, kind), "experimental_non_blocking", False)
        made: grpc.RpcMethodHandler = getattr(grpc, f"{kind}_rpc_method_handler")(
            behavior,
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )
        return made


def _not_here(method: str, request: bytes, context: grpc.ServicerContext) -> None:
    context.abort(grpc.StatusCode.PERMISSION_DENIED, NOT_HERE.format(method=method.rpartition("/")[2]))
