"""A gRPC server of grpcio's that knows no messages but bytes: `python raw_server.py PORT`.

`Echo` answers what it is sent; `Do` does what a JSON object says: `sleep` for seconds, then end with the status `code`
and `details`, or answer `size` bytes; without a size, what it knows of the call.
"""

import json
import sys
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self

import grpc

ECHO, DO = "/test.Raw/Echo", "/test.Raw/Do"
CODES = {code.value[0]: code for code in grpc.StatusCode}


class RawServer:
    """Serves until the `with` block is left; `options` are grpcio's."""

    def __init__(self, address: str = "127.0.0.1:0", options: Mapping[str, Any] | None = None, **more: Any) -> None:
        #: Calls of `Do` that are under way, for all the server knows.
        self.active = 0
        self._lock = threading.Lock()
        all_options = {"grpc.max_receive_message_length": -1, "grpc.max_send_message_length": -1, **(options or {})}
        self.server = grpc.server(ThreadPoolExecutor(32), options=list(all_options.items()), **more)
        handlers = {"Echo": self._echo, "Do": self._do}
        methods = {name: grpc.unary_unary_rpc_method_handler(handler) for name, handler in handlers.items()}
        self.server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Raw", methods),))
        port = self.server.add_insecure_port(address)
        self.address = address if address.startswith("unix:") else f"{address.rpartition(':')[0]}:{port}"

    def __enter__(self) -> Self:
        self.server.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.server.stop(None).wait()

    def _echo(self, request: bytes, context: Any) -> bytes:
        return request

    def _do(self, request: bytes, context: Any) -> bytes:
        self._count(1)
        if not context.add_callback(lambda: self._count(-1)):
            self._count(-1)
        orders = json.loads(request)
        known = {"peer": context.peer(), "seconds": context.time_remaining()}
        time.sleep(orders.get("sleep", 0))
        if "code" in orders:
            context.abort(CODES[orders["code"]], orders.get("details", ""))
        return bytes(orders["size"]) if "size" in orders else json.dumps(known).encode()

    def _count(self, more: int) -> None:
        with self._lock:
            self.active += more


if __name__ == "__main__":
    with RawServer(f"127.0.0.1:{sys.argv[1]}") as made:
        print("serving", made.address, flush=True)
        made.server.wait_for_termination()
