"""The table `[tls]`: HTTPS at Nginx."""

from dataclasses import dataclass

from wsgiapp.settings.constraints import OPTIONAL_FILE_PATH, Choice, Range
from wsgiapp.settings.declaration import MAX_SECONDS, RESTART, setting


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """HTTPS, which Nginx speaks."""

    certificate: str = setting(
        "",
        "file with the server's certificate and those that vouch for it, in PEM; empty: no HTTPS",
        RESTART,
        OPTIONAL_FILE_PATH,
    )
    key: str = setting(
        "", "file with the certificate's private key, in PEM; others must not read it", RESTART, OPTIONAL_FILE_PATH
    )
    https_port: int = setting(8443, "TCP port for HTTPS, on `http.host`", RESTART, Range(1, 65535))
    redirect: bool = setting(
        True,
        "`http.port` answers 308 to the same at HTTPS, but for health, metrics and the files of ACME; false: it serves "
        "as before",
        RESTART,
    )
    redirect_port: int = setting(
        0,
        "port that clients are sent to, where another one than `tls.https_port` is forwarded here; 0: `tls.https_port`",
        RESTART,
        Range(1, 65535, zero=True),
    )
    http2: bool = setting(
        False,
        "HTTP/2 is offered to clients, besides HTTP/1.1; a request line then ends at 32 KiB, because HTTP/2 packs "
        "large headers into a few bytes (measured with 1 MiB: 115 KB sent by one client, 435 MB taken in Nginx)",
        RESTART,
    )
    hsts_seconds: int = setting(
        0,
        "seconds for which browsers shall use HTTPS alone for this host (HSTS); it cannot be taken back; 0: not said",
        RESTART,
        Range(0, 10 * MAX_SECONDS),
    )
    client_ca: str = setting(
        "",
        "file with the certificates, in PEM, by which clients' certificates are verified; empty: none are asked for",
        RESTART,
        OPTIONAL_FILE_PATH,
    )
    client_certificates: str = setting(
        "required",
        "with `tls.client_ca`: `required` answers 400 to who has no valid one; `optional` lets in who has none; the "
        "subject is in the access log, and the application has it as X-Client-Subject",
        RESTART,
        Choice(("required", "optional")),
    )
