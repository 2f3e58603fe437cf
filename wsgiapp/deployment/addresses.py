"""The addresses that a stack needs for itself."""

import socket
from pathlib import Path

from wsgiapp.deployment import nginx, nginx_listeners
from wsgiapp.errors import StackError
from wsgiapp.settings.loading import variable_name
from wsgiapp.settings.schema import Settings


def require_free(settings: Settings) -> None:
    """Raise `StackError` for an address that another program listens on."""
    http, backend = settings.http, settings.backend
    needed = [("http", "port", http.host, http.port)]
    if nginx.find_nginx(settings):
        needed += [("http", "admin_port", host, port) for host, port in nginx_listeners.admin_addresses(settings)]
        if settings.tls.certificate:
            needed.append(("tls", "https_port", http.host, settings.tls.https_port))
    if settings.app.backend != "external":
        sockets = {"address": backend.socket_path, "socket": Path(backend.socket) if backend.socket else None}
        for name, path in sockets.items():
            if path and _is_listening(path):
                raise StackError(f"backend.{name}: somebody listens on unix:{path}; use another path")
        if not backend.socket_path:
            needed.append(("backend", "address", backend.host, backend.port))
        if backend.rest_port:
            needed.append(("backend", "rest_port", backend.rest_host, backend.rest_port))
    for table, name, host, port in needed:
        try:
            socket.create_server((host, port)).close()
        except OSError as exc:
            problem = f"{table}.{name}: cannot listen on {host}:{port} ({exc.strerror})"
            raise StackError(f"{problem}; {variable_name(table, name)} moves it") from exc


def _is_listening(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(str(path))
        except OSError:
            return False
    return True
