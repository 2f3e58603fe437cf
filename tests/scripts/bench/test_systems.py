"""What the peers get of the stack's configuration."""

from pathlib import Path

import pytest

from bench.systems import RECIPES, Peer, Stack
from support.processes import REPOSITORY
from wsgiapp.deployment.nginx import find_nginx
from wsgiapp.deployment.render import render
from wsgiapp.settings.loading import load_settings


@pytest.mark.skipif(find_nginx(load_settings({})) is None, reason="Nginx is not installed")
def test_a_peer_s_nginx_is_the_stack_s_without_its_limit(tmp_path: Path) -> None:
    stack = Stack(tmp_path / "stack", tmp_path)
    made = load_settings(
        {
            "WSGIAPP_CONF": str(REPOSITORY / "conf"),
            "WSGIAPP_HOME": str(stack.home),
            "WSGIAPP_HTTP_PORT": str(stack.port),
        }
    )
    render(made)
    text = Peer(RECIPES[0], tmp_path / "peer", stack)._nginx_configuration("127.0.0.1:1")
    assert "max_conns=" in stack.nginx_configuration()
    assert "max_conns=" not in text
    assert text.count('server "127.0.0.1:1"') == sum(
        stack.nginx_configuration().count(f"/run/{name}") for name in ("app", "waiting.sock")
    )
    assert str(stack.home) not in text
