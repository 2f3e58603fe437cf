"""Flask on gevent's pywsgi, a process a core on one socket, each with one channel that its greenlets share.

`python -m bench.peers.flask_gevent SOCKET PROCESSES`
"""

from __future__ import annotations

import sys

from bench.peers.forking import fork_on_socket

# Calls of one process that wait at the same time; each holds a thread, and gevent's own 10 would be a queue.
THREADS = 128


def main() -> None:
    """Serve until SIGTERM."""
    listener = fork_on_socket(sys.argv[1], int(sys.argv[2]))
    from gevent import get_hub, monkey

    monkey.patch_all()
    import grpc.experimental.gevent

    grpc.experimental.gevent.init_gevent()
    get_hub().threadpool.maxsize = THREADS
    from gevent import pywsgi

    from bench.peers.flask_shared_channel import create_app

    pywsgi.WSGIServer(listener, create_app(), log=None, environ={"wsgi.multiprocess": True}).serve_forever()


if __name__ == "__main__":
    main()
