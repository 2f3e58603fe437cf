"""Who a client is behind proxies, and who may know more than the public."""

from collections.abc import Callable, Iterable
from typing import Any

import pytest

from wsgiapp.settings.loading import load_settings
from wsgiapp.web.audience import Audience, TrustedProxies, behind_proxies
from wsgiapp.web.request import client_address

PROXIES = TrustedProxies(["10.0.0.0/8", "fd00::/8", "127.0.0.1"])


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "client"),
    [
        ("9.9.9.9", "6.6.6.6", "9.9.9.9"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "6.6.6.6", "6.6.6.6"),
        ("10.0.0.1", "6.6.6.6, 9.9.9.9", "9.9.9.9"),
        ("10.0.0.1", "6.6.6.6,9.9.9.9, 10.1.1.1 ,\t10.2.2.2", "9.9.9.9"),
        ("10.0.0.1", "10.3.3.3, 10.4.4.4", "10.3.3.3"),
        ("10.0.0.1", "6.6.6.6, unknown", "10.0.0.1"),
        ("10.0.0.1", "6.6.6.6, unknown, 10.1.1.1", "10.1.1.1"),
        ("10.0.0.1", "6.6.6.6, ", "10.0.0.1"),
        ("10.0.0.1", "9.9.9.9:4711", "9.9.9.9"),
        ("fd00::1", "6.6.6.6, [2001:db8::7]:4711", "2001:db8::7"),
        ("fd00::1", "6.6.6.6, 2001:DB8:0::7", "2001:db8::7"),
        ("::ffff:10.0.0.1", "::ffff:9.9.9.9", "9.9.9.9"),
        ("127.0.0.1", "6.6.6.6, 9.9.9.9, fd00::2", "9.9.9.9"),
        ("127.0.0.1", "9.9.9.9, 010.0.0.1", "127.0.0.1"),  # octal for some, so it is no address
    ],
)
def test_the_client_is_the_last_address_that_is_no_proxy_s(peer: str, forwarded_for: str, client: str) -> None:
    assert PROXIES.client(peer, forwarded_for) == client


def test_a_long_list_takes_no_longer_than_it_must() -> None:
    """Only what trusted proxies wrote is looked at."""
    assert PROXIES.client("10.0.0.1", "6.6.6.6," * 8000 + "9.9.9.9") == "9.9.9.9"


def tell(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    return [client_address(environ).encode()]


@pytest.mark.parametrize(
    ("environ", "client"),
    [
        ({"REMOTE_ADDR": "10.0.0.1", "HTTP_X_FORWARDED_FOR": "6.6.6.6, 9.9.9.9"}, b"9.9.9.9"),
        ({"REMOTE_ADDR": "9.9.9.9", "HTTP_X_FORWARDED_FOR": "6.6.6.6"}, b"9.9.9.9"),
        ({"HTTP_X_FORWARDED_FOR": "9.9.9.9"}, b"9.9.9.9"),
        ({"REMOTE_ADDR": "", "HTTP_X_FORWARDED_FOR": "6.6.6.6, 9.9.9.9"}, b"9.9.9.9"),
        ({}, b""),
    ],
    ids=["by TCP from a proxy", "by TCP", "by Nginx", "by another Nginx, which keeps the client's own", "nobody says"],
)
def test_what_the_log_and_the_split_go_by(environ: dict[str, Any], client: bytes) -> None:
    app = behind_proxies(tell, load_settings({"WSGIAPP_HTTP_TRUSTED_PROXIES": "10.0.0.0/8"}))
    assert list(app(dict(environ), print)) == [client]


NGINX = {"HTTP_X_FORWARDED_FOR": "9.9.9.9"}


@pytest.mark.parametrize(
    ("environ", "is_internal"),
    [
        ({"REMOTE_ADDR": "127.0.0.1"}, True),
        ({"REMOTE_ADDR": "9.9.9.9"}, False),
        ({"REMOTE_ADDR": "9.9.9.9", "HTTP_X_WSGIAPP_INTERNAL": "1"}, False),
        ({"REMOTE_ADDR": "127.0.0.1", "HTTP_X_FORWARDED_FOR": "9.9.9.9"}, False),
        ({"REMOTE_ADDR": "127.0.0.1", "HTTP_FORWARDED": "for=9.9.9.9"}, False),
        (NGINX, False),
        ({**NGINX, "HTTP_X_WSGIAPP_INTERNAL": ""}, False),
        ({**NGINX, "HTTP_X_WSGIAPP_INTERNAL": "1"}, True),
    ],
)
def test_who_may_know_more(environ: dict[str, str], is_internal: bool) -> None:
    assert Audience(load_settings({})).is_internal(environ) == is_internal
    everybody = Audience(load_settings({"WSGIAPP_HTTP_ADMIN_HOST": "0.0.0.0"}))
    assert everybody.is_internal(environ)
    one_port = {"WSGIAPP_HTTP_ADMIN_HOST": "0.0.0.0", "WSGIAPP_HTTP_ADMIN_PORT": "9090"}
    assert Audience(load_settings(one_port)).is_internal(environ) == is_internal
