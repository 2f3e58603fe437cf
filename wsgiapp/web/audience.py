"""Who asks: the client behind trusted proxies (`http.trusted_proxies`), and whether it may know more than all do."""

import ipaddress
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any

from wsgiapp.settings.constraints import split_words
from wsgiapp.settings.schema import Settings

WSGIApplication = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
FORWARDED_FOR = "HTTP_X_FORWARDED_FOR"
INTERNAL = "HTTP_X_WSGIAPP_INTERNAL"  # Nginx says so, and lets no client say it
KNOWN_PEERS = 4096


class Audience:
    """Whether a request may learn the metrics and what is missing for readiness (settings `http.admin_...`)."""

    def __init__(self, settings: Settings) -> None:
        http = settings.http
        self._is_everybody = http.admin_host == "0.0.0.0" and http.admin_port in (0, http.port)

    def is_internal(self, environ: dict[str, Any]) -> bool:
        """On a Unix socket Nginx decides. On TCP it is who connects from this machine, but for proxies on it."""
        if self._is_everybody:
            return True
        peer: str = environ.get("REMOTE_ADDR", "")
        if peer:
            return peer.startswith("127.") and FORWARDED_FOR not in environ and "HTTP_FORWARDED" not in environ
        return environ.get(INTERNAL) == "1"


class TrustedProxies:
    """The networks of proxies whose word on a request's client counts."""

    def __init__(self, networks: Sequence[str]) -> None:
        self._networks = [ipaddress.ip_network(network) for network in networks]
        self.trusts = lru_cache(KNOWN_PEERS)(self._trusts)

    def client(self, peer: str, forwarded_for: str) -> str:
        """The last address that is no trusted proxy's; each proxy adds at the end whom it was asked by.

        What stands before an entry that is no address was written by nobody who is trusted.
        """
        client = peer
        for entry in reversed(forwarded_for.split(",")):
            if not self.trusts(client):
                break
            address = parse_address(entry)
            if address is None:
                break
            client = str(address)
        return client

    def _trusts(self, address: str) -> bool:
        parsed = parse_address(address)
        return parsed is not None and any(parsed in network for network in self._networks)


def parse_address(text: str) -> Address | None:
    """An address as proxies write it: with a port, IPv6 in brackets or not; IPv4 within IPv6 is IPv4."""
    text = text.strip(" \t")
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def behind_proxies(wsgi_app: WSGIApplication, settings: Settings) -> WSGIApplication:
    """`wsgi_app` with the client's address as REMOTE_ADDR, where proxies reach the worker by TCP.

    Behind Nginx, which has done it, it changes nothing.
    """
    proxies = TrustedProxies(split_words(settings.http.trusted_proxies))

    def with_client(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        peer: str = environ.get("REMOTE_ADDR", "")
        if peer and proxies.trusts(peer):
            environ["REMOTE_ADDR"] = proxies.client(peer, environ.get(FORWARDED_FOR, ""))
        return wsgi_app(environ, start_response)

    return with_client
