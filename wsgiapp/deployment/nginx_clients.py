"""Who a client is for Nginx (settings `http.trusted_proxies`, `http.proxy_protocol`), and how much it may ask for."""

from wsgiapp.settings.constraints import split_words
from wsgiapp.settings.schema import Settings

# 10 MB know some 80,000 addresses (ngx_http_limit_req_module); the one that asked longest ago is forgotten first.
ZONE = "10m"
# The end of a key tells it from others, also of a token whose beginning is the same for all.
KEY_CHARACTERS = 64


def maps(settings: Settings) -> list[str]:
    """The lines for the level of `http`."""
    return [*_addresses(settings), *_limits(settings)]


def limits(settings: Settings) -> list[str]:
    """The lines for the level of `server`. A location with a `limit_req` of its own is without these."""
    nginx = settings.nginx
    burst = f"burst={nginx.request_burst} nodelay" if nginx.request_burst else "nodelay"
    chosen = {
        f"limit_req zone=requests_by_address {burst};": nginx.requests_per_second,
        f"limit_req zone=requests_by_key {burst};": nginx.key_requests_per_second,
        f"limit_conn in_flight_by_address {nginx.client_requests};": nginx.client_requests,
        f"limit_conn in_flight_by_key {nginx.key_requests};": nginx.key_requests,
    }
    lines = [line for line, wanted in chosen.items() if wanted]
    # Each is in the access log; a second line in the error log would cost more than the rejection.
    return ["limit_req_status 429;", "limit_conn_status 429;", *_quiet(), *lines] if lines else []


def uncounted_paths(settings: Settings) -> list[str]:
    """What health checks and scrapers ask for."""
    return [path for path in ("/healthz", *detailed_paths(settings)) if path]


def detailed_paths(settings: Settings) -> list[str]:
    """Where more is said than the public should know, see `web.audience`."""
    return [path for path in ("/readyz", settings.http.metrics_path, settings.backend.metrics_path) if path]


def path_pattern(paths: list[str]) -> str:
    """A regular expression of the paths; workers take several slashes at the beginning for one."""
    return "^/+(?:" + "|".join(path.lstrip("/").replace(".", "\\.") for path in paths) + ")$"


def _addresses(settings: Settings) -> list[str]:
    http = settings.http
    proxies = split_words(http.trusted_proxies)
    if not proxies:
        return ['map "" $client_scheme { default $scheme; }', 'map "" $client_host { default ""; }']
    return [
        *(f"set_real_ip_from {proxy};" for proxy in proxies),
        f"real_ip_header {'proxy_protocol' if http.proxy_protocol else 'X-Forwarded-For'};",
        "real_ip_recursive on;",
        "geo $realip_remote_addr $is_proxy {",
        "    default 0;",
        *(f"    {proxy} 1;" for proxy in proxies),
        "}",
        'map "$is_proxy $http_x_forwarded_proto" $client_scheme {',
        '    "1 https" https;',
        '    "1 http" http;',
        "    default $scheme;",
        "}",
        'map $is_proxy $client_host { 1 $http_x_forwarded_host; default ""; }',
    ]


def _limits(settings: Settings) -> list[str]:
    nginx = settings.nginx
    by_address = nginx.requests_per_second or nginx.client_requests
    by_key = nginx.key_requests_per_second or nginx.key_requests
    if not by_address and not by_key:
        return []
    # A request with an empty key is not counted.
    uncounted = f'"~{path_pattern(uncounted_paths(settings))}" "";'
    zones = {
        f"limit_req_zone $counted_address zone=requests_by_address:{ZONE} rate={nginx.requests_per_second}r/s;": (
            nginx.requests_per_second
        ),
        f"limit_req_zone $counted_key zone=requests_by_key:{ZONE} rate={nginx.key_requests_per_second}r/s;": (
            nginx.key_requests_per_second
        ),
        f"limit_conn_zone $counted_address zone=in_flight_by_address:{ZONE};": nginx.client_requests,
        f"limit_conn_zone $counted_key zone=in_flight_by_key:{ZONE};": nginx.key_requests,
    }
    return [
        'map "$http_x_api_key$http_authorization" $client_key {',
        f'    "~(?<end_of_key>.{{1,{KEY_CHARACTERS}}})$" $end_of_key;',
        '    default "";',
        "}",
        f"map $uri $counted_address {{ {uncounted} default $binary_remote_addr; }}",
        f"map $uri $counted_key {{ {uncounted} default $client_key; }}",
        *(line for line, wanted in zones.items() if wanted),
    ]


def _quiet() -> list[str]:
    return ["limit_req_log_level info;", "limit_conn_log_level info;"]
