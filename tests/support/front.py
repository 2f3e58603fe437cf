"""`Front`: Nginx in front of one worker, and nothing else."""

import shutil
from pathlib import Path
from typing import Self

from support.http_client import fetch
from support.lexicon import give_lexicon
from support.processes import REPOSITORY, Process, free_port, python_module
from wsgiapp.deployment import nginx
from wsgiapp.deployment.render import render
from wsgiapp.settings.loading import load_settings


class Front:
    """Serves the demo models of the model server at `backend`: at `url` by Nginx, at `worker_url` by the worker."""

    def __init__(self, home: Path, backend: str, *, own_nginx: str = "", **variables: str) -> None:
        """`own_nginx` are lines of the user's own for Nginx, in `conf/nginx.d`."""
        shutil.copytree(REPOSITORY / "conf", home / "conf")
        (home / "conf/nginx.d/own.conf").write_text(own_nginx)
        give_lexicon(home)
        port, worker_port = free_port(), free_port()
        self.url, self.worker_url = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{worker_port}"
        variables = {
            "WSGIAPP_APP_WORKERS": "1",
            "WSGIAPP_BACKEND_ADDRESS": backend,
            "WSGIAPP_CONF": str(home / "conf"),
            "WSGIAPP_HOME": str(home),
            "WSGIAPP_HTTP_PORT": str(port),
            "WSGIAPP_LIMITS_BODY_BYTES": str(2 * 2**20),
            "WSGIAPP_LIMITS_INFLIGHT": "2",
            "WSGIAPP_LIMITS_REQUEST_LINE_BYTES": str(512 * 1024),
            **variables,
        }
        settings = load_settings(variables)
        render(settings)
        own = settings.run / "app_00.sock"
        (settings.run / "app.sock").symlink_to(own)  # the socket of all workers, of whom there is one
        worker = python_module("wsgiapp.worker", f"--listen=127.0.0.1:{worker_port}", f"--socket={own}")
        self.worker = Process(worker, home / "worker", **variables)
        program = nginx.find_nginx(settings) or ""
        self.nginx = Process(nginx.command(settings, program, settings.run / "nginx.conf"), home / "nginx")

    def __enter__(self) -> Self:
        self.worker.wait_until(self._is_up)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.nginx.__exit__()
        self.worker.__exit__()

    def _is_up(self) -> bool:
        try:
            return fetch(f"{self.url}/healthz").status == 200
        except OSError:
            return False
