"""An application that does nothing, on gevent's own pywsgi: the ceiling of throughput, and the unit of CPU.

`python -m bench.peers.empty_pywsgi SOCKET PROCESSES`
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Any

from bench.peers.forking import fork_on_socket

# As long as an answer to a sentence.
ANSWER = (
    b'{"status":0,"classes_id":1,"labels":"POS","softmax":[0.0001234,0.9998766],"model":{"name":"lstm","version":1}}'
)
HEADERS = [("Content-Type", "application/json"), ("Content-Length", str(len(ANSWER)))]


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer anything with `ANSWER`."""
    start_response("200 OK", HEADERS)
    return [ANSWER]


def main() -> None:
    """Serve until SIGTERM."""
    listener = fork_on_socket(sys.argv[1], int(sys.argv[2]))
    from gevent import pywsgi

    pywsgi.WSGIServer(listener, application, log=None, environ={"wsgi.multiprocess": True}).serve_forever()


if __name__ == "__main__":
    main()
