"""The tables `[app]`, `[http]`, `[nginx]`, `[limits]` and `[log]`: the workers, and Nginx in front of them."""

from dataclasses import dataclass

from wsgiapp.settings.constraints import (
    COMPATIBILITY,
    HOST,
    IPV4,
    TEXT,
    URL_PATH,
    Choice,
    Networks,
    Origins,
    Pattern,
    Range,
)
from wsgiapp.settings.declaration import DOWN_AND_UP, MAX_SECONDS, RESTART, setting

# Nginx reads sizes and counts of at most 63 bits; what comes near is a slip.
MAX_NGINX_NUMBER = 2**40


@dataclass(frozen=True, slots=True, kw_only=True)
class App:
    """What the service is."""

    backend: str = setting(
        "embedded",
        "the model server: `embedded` runs the built-in one, `container` runs TensorFlow Serving in a container, "
        "`external` uses a TensorFlow Serving of yours",
        DOWN_AND_UP,
        Choice(("embedded", "container", "external")),
    )
    default_model: str = setting(
        "", "the model that answers `/predict`; empty: the first one configured", RESTART, TEXT
    )
    server: str = setting(
        "builtin",
        "what runs the workers: `builtin` is the service's own program, `gunicorn` and `uwsgi` run in its place where "
        "you know them better (conf/gunicorn.py, conf/uwsgi.ini); Nginx speaks HTTP to gunicorn, uwsgi to uWSGI",
        DOWN_AND_UP,
        Choice(("builtin", "gunicorn", "uwsgi")),
    )
    user: str = setting(
        "",
        "as whom everything runs where root starts it; empty: `wsgiapp` or `www-data`, if there is such a user who can "
        "read all that is needed, or else root, with a warning; `root`: without one; where others start it, as them",
        DOWN_AND_UP,
        Pattern(r"([a-z_][a-z0-9_.-]{0,31})?", "a user's name"),
    )
    workers: int = setting(
        0,
        "worker processes; 0: one a core, but at least 2, so that a rolling restart always leaves one",
        DOWN_AND_UP,
        Range(0, 1024),
    )
    watchdog_seconds: float = setting(
        3.0,
        "seconds after which a worker whose event loop stands still is killed and started anew, with its stacks in the "
        "log; a model server that does not answer gets ten times as long, and what a signal has stopped 1.5 s; "
        "0: nobody watches",
        DOWN_AND_UP,
        Range(1, MAX_SECONDS, zero=True),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Http:
    """Where and how clients are served."""

    host: str = setting(
        "127.0.0.1",
        "IPv4 address or host name to listen on; `0.0.0.0` opens the service to other machines",
        DOWN_AND_UP,
        HOST,
    )
    port: int = setting(8080, "TCP port to listen on", DOWN_AND_UP, Range(1, 65535))
    connections: int = setting(
        1000,
        "open connections a worker; each is a greenlet, also while it is idle. One more takes the place of the one "
        "that is idle for the longest time; where none is, it is answered 503",
        RESTART,
        Range(1),
    )
    idle_seconds: float = setting(
        75.0,
        "seconds a connection may be idle; longer than Nginx's 60, so that Nginx closes first",
        RESTART,
        Range(1, MAX_SECONDS),
    )
    header_seconds: float = setting(
        20.0,
        "seconds from a request's first byte until its headers are complete, however slowly they come",
        RESTART,
        Range(1, MAX_SECONDS),
    )
    body_seconds: float = setting(
        30.0,
        "seconds for a request's body, and one more for each `http.body_bytes_per_second` that have come",
        RESTART,
        Range(1, MAX_SECONDS),
    )
    body_bytes_per_second: int = setting(
        1000,
        "bytes of a body a second, on average, that a client must send where it takes more than `http.body_seconds`; "
        "less than the slowest phones reach",
        RESTART,
        Range(1, MAX_NGINX_NUMBER),
    )
    metrics_path: str = setting(
        "/metrics", "path of all workers' metrics, in Prometheus's format; empty: not served", RESTART, URL_PATH
    )
    drain_seconds: float = setting(
        20.0,
        "seconds that requests in flight get at a stop; more than the longest deadline",
        DOWN_AND_UP,
        Range(0, MAX_SECONDS),
    )
    cors_origins: str = setting(
        "",
        "origins whose pages may call the service from a browser (CORS), with spaces between them, as "
        "`https://shop.example http://localhost:3000`; `*`: any page; empty: none",
        RESTART,
        Origins(),
    )
    cors_credentials: bool = setting(
        False,
        "pages of these origins may send cookies and HTTP authentication, which something in front may ask for; not "
        "with `*`",
        RESTART,
    )
    cors_max_age_seconds: int = setting(
        7200,
        "seconds a browser may remember what a preflight was answered; Chromium remembers none for longer",
        RESTART,
        Range(0, MAX_SECONDS),
    )
    compatibility: str = setting(
        "",
        "`flask`: predictions are answered as by the usual Flask service, errors with HTTP 200 and a `status` of -1, "
        "pictures pickled; empty: as documented",
        RESTART,
        COMPATIBILITY,
    )
    trusted_proxies: str = setting(
        "",
        "addresses and networks of proxies and load balancers in front, as `10.0.0.7 fd00::/8`: only what they say in "
        "X-Forwarded-For, -Proto and -Host counts, and a client is the last address there that is no proxy's; empty: a "
        "client is who connects",
        RESTART,
        Networks(),
    )
    proxy_protocol: bool = setting(
        False,
        "clients are named by the PROXY protocol, which the proxies in front then have to speak on every connection; "
        "needs Nginx and `http.trusted_proxies`",
        RESTART,
    )
    admin_host: str = setting(
        "127.0.0.1",
        "IPv4 address where metrics and the details of `/readyz` are answered; elsewhere `/metrics` is 404 and "
        "`/readyz` says only yes or no; `0.0.0.0`: any address of the machine",
        DOWN_AND_UP,
        IPV4,
    )
    admin_port: int = setting(
        0,
        "TCP port of that address, for a scraper on another machine; 0: the one of `http.port`, where requests with an "
        "X-Forwarded-For, which came through a proxy, are the public's; needs Nginx",
        DOWN_AND_UP,
        Range(1, 65535, zero=True),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Nginx:
    """The reverse proxy in front of the workers."""

    binary: str = setting(
        "nginx",
        "program to run; also looked for in /usr/sbin; empty: the workers serve clients themselves",
        DOWN_AND_UP,
        TEXT,
    )
    client_header_seconds: int = setting(
        30,
        "seconds in which a request's head must have come, all of it; then the connection is closed",
        RESTART,
        Range(1, MAX_SECONDS),
    )
    client_body_seconds: int = setting(
        30,
        "seconds between two pieces of a request's body, after which the connection is closed",
        RESTART,
        Range(1, MAX_SECONDS),
    )
    send_seconds: int = setting(
        30,
        "seconds in which a client takes nothing of its answer, after which the connection is closed",
        RESTART,
        Range(1, MAX_SECONDS),
    )
    requests_per_second: int = setting(
        0,
        "requests a second from one address, above which they are answered 429; health and metrics are not counted; "
        "0: any number",
        RESTART,
        Range(0, MAX_NGINX_NUMBER),
    )
    key_requests_per_second: int = setting(
        0,
        "the same with one API key (X-API-Key or Authorization), besides; Nginx does not know which keys are valid",
        RESTART,
        Range(0, MAX_NGINX_NUMBER),
    )
    request_burst: int = setting(
        50, "requests above these rates that are still taken at once", RESTART, Range(0, 1_000_000)
    )
    client_requests: int = setting(
        0,
        "requests in flight from one address, also those whose bodies are still coming; more are answered 429; 0: any "
        "number",
        RESTART,
        Range(0, 65535),
    )
    key_requests: int = setting(0, "the same with one API key, besides", RESTART, Range(0, 65535))
    workers: int = setting(
        1, "Nginx worker processes; one is plenty below 20,000 requests a second", RESTART, Range(1, 1024)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a request may ask for. Nginx is given the same figures."""

    body_bytes: int = setting(
        16 * 2**20, "bytes of a request body: a large photograph in base64", RESTART, Range(1024, MAX_NGINX_NUMBER)
    )
    bodies_bytes: int = setting(
        80 * 2**20,
        "bytes of request bodies that a worker holds at a time, not counting those below 64 KB; one more is answered "
        "503",
        RESTART,
        Range(2**20),
    )
    request_line_bytes: int = setting(
        2**20,
        "bytes of method, URL and query: a 700 KB picture in base64 (pywsgi and Nginx stop at 8 KB)",
        RESTART,
        Range(1024, MAX_NGINX_NUMBER),
    )
    text_chars: int = setting(
        10_000,
        "characters of all texts in one request; the cost of a recurrent model grows with it",
        RESTART,
        Range(1),
    )
    text_rows: int = setting(256, "texts in one request", RESTART, Range(1))
    image_pixels: int = setting(
        50_000_000, "width x height of an image in pixels, read from its header: 150 MB once decoded", RESTART, Range(1)
    )
    tensor_numbers: int = setting(
        2**22,
        "numbers in all input tensors of one request below `/v1/`: a picture of 1024x1024 in three colours, and more",
        RESTART,
        Range(1),
    )
    tensor_strings: int = setting(
        2**16,
        "strings in all input tensors of one request, padding included; below `/v1/` examples count as strings, too; a "
        "recurrent model takes 2 KB of the model server's memory for each",
        RESTART,
        Range(1),
    )
    json_memory_bytes: int = setting(
        160 * 2**20,
        "bytes of memory that the JSON of one request may take once it is parsed, several times its length; of the "
        "requests that take more than 4 MB a worker reads one at a time, and the others wait",
        RESTART,
        Range(2**20),
    )
    answer_bytes: int = setting(
        2**25,
        "bytes of one answer: the map of a picture of 24 megapixels with `encoding=npy`; Nginx keeps on the disk what "
        "its client has not read yet",
        RESTART,
        Range(1024, MAX_NGINX_NUMBER),
    )
    decoded_bytes: int = setting(
        224 * 2**20,
        "bytes that all pictures together may take in a worker while they are decoded, reckoned from their headers; "
        "the others wait in line, and one that needs more is answered 413; with the default a worker stays below "
        "400 MB",
        RESTART,
        Range(2**20),
    )
    inflight: int = setting(
        128,
        "predictions that a worker holds, in flight or waiting; with so many, a model that has its share of them "
        "(`models.NAME.share`) gets 503 for one more at once; Nginx rejects earlier, for each model with half of it "
        "for each worker and three quarters of it besides",
        RESTART,
        Range(1, MAX_NGINX_NUMBER),
    )
    queue_seconds: float = setting(
        1.0,
        "seconds that a prediction may wait for its turn in a worker; where more is predicted, 503 comes at once",
        RESTART,
        Range(0.001, MAX_SECONDS),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """The log files under `WSGIAPP_HOME/log`."""

    level: str = setting(
        "info", "debug, info, warning or error", RESTART, Choice(("debug", "info", "warning", "error"))
    )
    access: bool = setting(True, "one JSON line a request", RESTART)
    max_bytes: int = setting(20 * 2**20, "bytes of a log file before it is rotated", DOWN_AND_UP, Range(1024))
    backups: int = setting(5, "rotated files kept of each log", DOWN_AND_UP, Range(0))
