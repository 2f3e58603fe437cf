"""What applies a changed setting, as it is declared, by what the change does to the rendered files."""

import shutil
from pathlib import Path

import pytest

from support.processes import REPOSITORY
from wsgiapp.deployment.nginx import find_nginx
from wsgiapp.deployment.render import render
from wsgiapp.settings import reference
from wsgiapp.settings.loading import load_settings

# A legal value other than the default of each setting.
OTHER = {
    "app.backend": "container",
    "app.default_model": "cv_sod",
    "app.server": "gunicorn",
    "app.user": "somebody",
    "app.workers": "5",
    "http.host": "0.0.0.0",
    "http.port": "18999",
    "http.connections": "77",
    "http.idle_seconds": "80",
    "http.header_seconds": "7",
    "http.body_seconds": "7",
    "http.body_bytes_per_second": "77",
    "http.trusted_proxies": "10.0.0.0/8",
    "http.admin_host": "0.0.0.0",
    "http.admin_port": "18998",
    "http.metrics_path": "/m",
    "http.cors_origins": "http://localhost:3000",
    "http.cors_credentials": "true",
    "http.cors_max_age_seconds": "60",
    "http.compatibility": "flask",
    "http.drain_seconds": "33",
    "nginx.binary": "",
    "nginx.workers": "3",
    "nginx.client_header_seconds": "7",
    "nginx.client_body_seconds": "7",
    "nginx.send_seconds": "7",
    "nginx.requests_per_second": "7",
    "nginx.key_requests_per_second": "7",
    "nginx.request_burst": "7",
    "nginx.client_requests": "7",
    "nginx.key_requests": "7",
    "tls.https_port": "18997",
    "tls.redirect": "false",
    "tls.redirect_port": "18996",
    "tls.http2": "true",
    "tls.hsts_seconds": "77",
    "tls.client_certificates": "optional",
    "limits.body_bytes": "2000000",
    "limits.request_line_bytes": "20000",
    "limits.text_chars": "77",
    "limits.text_rows": "7",
    "limits.image_pixels": "7777",
    "limits.bodies_bytes": "33333333",
    "limits.tensor_numbers": "777",
    "limits.tensor_strings": "77",
    "limits.json_memory_bytes": "7777777",
    "limits.answer_bytes": "7777777",
    "limits.decoded_bytes": "77777777",
    "limits.inflight": "99",
    "limits.queue_seconds": "3",
    "backend.address": "127.0.0.1:18501",
    "backend.socket": "/run/m.sock",
    "backend.management": "all",
    "backend.model_roots": "/srv/models",
    "backend.message_bytes": "3000000",
    "backend.deadline_seconds": "44",
    "backend.metrics_path": "/b",
    "backend.serialize_as_tensor_content": "true",
    "backend.rest_port": "18502",
    "backend.config_poll_seconds": "9",
    "backend.operation_libraries": "/usr/lib/mine.so",
    "container.engine": "podman",
    "container.image": "x:1",
    "container.pull": "always",
    "container.name": "x",
    "container.gpu": "0",
    "container.memory_bytes": "999999999",
    "container.cpus": "2",
    "container.user": "7:7",
    "container.network": "host",
    "container.arguments": "--x",
    "container.flags": "--y",
    "access.keys": "true",
    "access.file": "mine.json",
    "management.token": "t",
    "app.watchdog_seconds": "0",
    "backend.reconnect_wait_seconds": "7",
    "management.seconds": "77",
    "log.level": "debug",
    "log.access": "false",
    "log.max_bytes": "99999",
    "log.backups": "2",
}
SUPERVISORD = {"supervisord.conf", "supervisor.d"}
# Without Nginx supervisord binds the port itself; the launcher of the container reads its settings when it starts.
WITHOUT_NGINX = ("http.host", "http.port")
# The command asks there whether the service is ready.
ASKED = ("http.admin_host", "http.admin_port")
# Rejected without others; test_nginx_listeners has them.
NEED_OTHERS = ("http.proxy_protocol", "tls.certificate", "tls.key", "tls.client_ca")
# It says as whom the command itself goes on.
COMMAND_ALONE = ("app.user",)
ROWS = [row for row in reference.rows() if not row.key.startswith("models.") and row.key not in NEED_OTHERS]


def changed_files(tmp_path: Path, variable: str, value: str) -> set[str]:
    conf = tmp_path / "conf"
    shutil.copytree(REPOSITORY / "conf", conf)
    environ = {"WSGIAPP_CONF": str(conf), "WSGIAPP_HOME": str(tmp_path / "home")}
    render(load_settings(environ).in_stack())
    return render(load_settings({**environ, variable: value}).in_stack())


@pytest.mark.skipif(find_nginx(load_settings({})) is None, reason="Nginx is not installed")
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.key)
def test_a_rolling_restart_is_enough(row: reference.Row, tmp_path: Path) -> None:
    """It leaves supervisord and the model server alone; Nginx gets its new file by it."""
    changed = changed_files(tmp_path, f"WSGIAPP_{row.key}".replace(".", "_").upper(), OTHER[row.key])
    if row.after_change == "make restart":
        assert not changed & SUPERVISORD, row.key
    else:
        assert changed & SUPERVISORD or row.key.startswith(("container.", *WITHOUT_NGINX, *ASKED, *COMMAND_ALONE)), (
            row.key
        )
