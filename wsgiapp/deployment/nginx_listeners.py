"""Where Nginx listens: for the public, with TLS or without, and for who may know more (settings `http.admin_...`)."""

import dataclasses
import hashlib
import re
import socket
import subprocess
from pathlib import Path

from wsgiapp.deployment.nginx_clients import detailed_paths, path_pattern, uncounted_paths
from wsgiapp.settings.schema import Settings

BACKLOG = 4096
ANY = "0.0.0.0"
VERSION = re.compile(r"nginx version: \S*?/(\d+)\.(\d+)\.(\d+)")
HTTP2_DIRECTIVE = (1, 25, 1)  # since then `http2` of `listen` is deprecated in its favour
# As https://ssl-config.mozilla.org/ has them for "intermediate" (version 5.7), without the ciphers that need a file of
# Diffie-Hellman parameters.
CIPHERS = (
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"
    "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
)
# A connection of HTTP/2 that has brought so many requests is closed: it bounds what streams that are opened and reset
# at once cost (CVE-2023-44487). Without it a busy proxy's connections should stay.
KEEPALIVE_REQUESTS, KEEPALIVE_REQUESTS_HTTP2 = 1_000_000, 10_000
# What HTTP/2 unpacks of a client's headers is held for each stream: together no more than with Nginx's own defaults.
MAX_HTTP2_LINE_BYTES, HTTP2_STREAMS = 32 * 1024, 32
OWN_ERRORS = "/_(?:problem|error|flask)/[0-9]{3}$"  # the locations of `nginx_errors`
ACME = "/.well-known/acme-challenge/"


def maps(settings: Settings) -> list[str]:
    """The lines for the level of `http`."""
    lines = [*_internal(settings), *_redirects(settings)]
    if _has_hsts(settings):
        lines.append(f'map $https $hsts {{ on "max-age={settings.tls.hsts_seconds}"; default ""; }}')
    if settings.tls.client_ca:
        lines.append('map $ssl_client_verify $client_subject { SUCCESS $ssl_client_s_dn; default ""; }')
    return lines


def effective_settings(settings: Settings) -> Settings:
    """The settings with the limits that HTTP/2 needs."""
    if not _has_http2(settings):
        return settings
    line_bytes = min(settings.limits.request_line_bytes, MAX_HTTP2_LINE_BYTES)
    return dataclasses.replace(settings, limits=dataclasses.replace(settings.limits, request_line_bytes=line_bytes))


def listeners(settings: Settings, nginx: str) -> list[str]:
    """The lines for the level of `server`; `nginx` is the program, whose version decides how HTTP/2 is written."""
    http, tls = settings.http, settings.tls
    proxy = " proxy_protocol" if http.proxy_protocol else ""
    lines = [f"listen {http.host}:{http.port} backlog={BACKLOG}{proxy};"]
    lines += [f"listen {host}:{port};" for host, port in admin_addresses(settings)]
    keepalive_requests = KEEPALIVE_REQUESTS
    if tls.certificate:
        parameter = ""
        if tls.http2:
            has_directive = version(nginx) >= HTTP2_DIRECTIVE
            parameter = "" if has_directive else " http2"
            lines += [f"http2_max_concurrent_streams {HTTP2_STREAMS};", *(["http2 on;"] if has_directive else [])]
            keepalive_requests = KEEPALIVE_REQUESTS_HTTP2
        lines.append(f"listen {http.host}:{tls.https_port} ssl{parameter} backlog={BACKLOG}{proxy};")
        lines += _tls(settings)
    return [*lines, f"keepalive_requests {keepalive_requests};"]


def admin_addresses(settings: Settings) -> list[tuple[str, int]]:
    """Host and port of the listener for who may know more, where the public's is none for them."""
    http = settings.http
    has_own_port = http.admin_port not in (0, http.port)
    return [(http.admin_host, http.admin_port or http.port)] if has_own_port or not _is_covered(settings) else []


def locations(settings: Settings) -> list[str]:
    """The lines for the level of `server`, below what is included there."""
    redirect = ["if ($redirects) {", "    return 308 https://$redirect_host$request_uri;", "}"]
    left_out = ["if ($is_left_out) {", "    return 404;", "}"]
    return [
        'set $internal "";',
        *(redirect if _has_redirect(settings) else []),
        *(left_out if settings.http.admin_port not in (0, settings.http.port) else []),
        f"location ^~ {ACME} {{",
        f'    root "{settings.home}/acme";',
        "    default_type text/plain;",
        "}",
    ]


def headers(settings: Settings) -> list[str]:
    """The lines for the level of `server`, and for locations with an `add_header` of their own."""
    return ["add_header Strict-Transport-Security $hsts always;"] if _has_hsts(settings) else []


def client_subject(settings: Settings) -> str:
    """What stands for the subject of the client's certificate; empty where none is asked for."""
    return "$client_subject" if settings.tls.client_ca else '""'


def detailed_pattern(settings: Settings) -> str:
    """The paths, as a regular expression, where a request that is not the public's learns more."""
    return path_pattern(detailed_paths(settings))


def version(nginx: str) -> tuple[int, ...]:
    """Of the program; zeros where it does not say."""
    try:
        told = subprocess.run([nginx, "-v"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return (0, 0, 0)  # its configuration is checked next, and that says what is wrong with it
    found = VERSION.search(told.stderr)
    return tuple(map(int, found.groups())) if found else (0, 0, 0)


def warnings(settings: Settings) -> list[str]:
    """What the operator should know."""
    key = settings.tls.key
    try:
        is_open = bool(key) and Path(key).stat().st_mode & 0o007
    except OSError:
        return []  # Nginx says what is wrong with it
    return (
        [f"tls.key: anybody on this machine can read or change {key}; `chmod o= {key}` stops that"] if is_open else []
    )


def _is_covered(settings: Settings) -> bool:
    """Whether the listener for the public is at the address for who may know more, too, or on loopback anyway."""
    address = _address(settings.http.host)
    return ANY in (address, settings.http.admin_host) or address == settings.http.admin_host or _is_loopback(address)


def _is_loopback(address: str) -> bool:
    return address.startswith("127.")


def _address(host: str) -> str:
    """What Nginx will bind; the name itself where nobody knows it."""
    try:
        return socket.gethostbyname(host)
    except OSError:
        return host


def _internal(settings: Settings) -> list[str]:
    """`$is_internal`: the request may know more."""
    http = settings.http
    port = http.admin_port or http.port
    if port != http.port:
        told, ours = ("$server_port", str(port)) if http.admin_host == ANY else _at(http.admin_host, port)
        kept = path_pattern(uncounted_paths(settings)).removeprefix("^")
        return [
            f'map "{told}" $is_internal {{ "{ours}" 1; default 0; }}',
            # A port that a scraper can reach is not one for everything else.
            'map "$server_port $uri" $is_left_out {',
            "    volatile;",
            f'    "~^{port} (?:{OWN_ERRORS}|{kept})" 0;',
            f'    "~^{port} " 1;',
            "    default 0;",
            "}",
        ]
    if http.admin_host == ANY:
        return ['map "" $is_internal { default 1; }']
    addresses = {http.admin_host, *filter(_is_loopback, [_address(http.host)])}
    # By way of a proxy on this machine comes whoever asks it.
    lines = [f'    "{address}:{port} " 1;' for address in sorted(addresses)]
    forwarded = "$http_x_forwarded_for$http_forwarded"
    return [f'map "$server_addr:$server_port {forwarded}" $is_internal {{', *lines, "    default 0;", "}"]


def _at(host: str, port: int) -> tuple[str, str]:
    return "$server_addr:$server_port", f"{host}:{port}"


def _has_redirect(settings: Settings) -> bool:
    return bool(settings.tls.certificate) and settings.tls.redirect


def _has_http2(settings: Settings) -> bool:
    return bool(settings.tls.certificate and settings.tls.http2)


def _has_hsts(settings: Settings) -> bool:
    return bool(settings.tls.certificate and settings.tls.hsts_seconds)


def _redirects(settings: Settings) -> list[str]:
    if not _has_redirect(settings):
        return []
    port = settings.tls.redirect_port or settings.tls.https_port
    suffix = "" if port == 443 else f":{port}"
    kept = path_pattern(uncounted_paths(settings)).removeprefix("^")
    return [
        # Nginx's own errors are answered by way of these locations, also where the request's head was not understood.
        'map "$client_scheme $uri" $redirects {',
        '    "~^https " 0;',
        f'    "~^http (?:{OWN_ERRORS}|{ACME}|{kept})" 0;',
        "    default 1;",
        "}",
        f'map $host $redirect_host {{ "" $server_addr{suffix}; default $host{suffix}; }}',
    ]


def _tls(settings: Settings) -> list[str]:
    tls = settings.tls
    lines = [
        # A file that was renewed changes this line, and so `make restart` has Nginx read it.
        f"# {_digest(tls.certificate)}",
        f'ssl_certificate "{tls.certificate}";',
        f'ssl_certificate_key "{tls.key}";',
        "ssl_protocols TLSv1.2 TLSv1.3;",
        f"ssl_ciphers {CIPHERS};",
        "ssl_prefer_server_ciphers off;",
        "ssl_session_cache shared:tls:10m;",
        "ssl_session_timeout 1d;",
        "ssl_session_tickets off;",  # their key would be as old as the process
    ]
    if tls.client_ca:
        lines += [
            f"# {_digest(tls.client_ca)}",
            f'ssl_client_certificate "{tls.client_ca}";',
            f"ssl_verify_client {'on' if tls.client_certificates == 'required' else 'optional'};",
            "ssl_verify_depth 4;",
        ]
    return lines


def _digest(path: str) -> str:
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError:
        return "unreadable"  # Nginx says why
