"""CORS in Nginx: it answers preflights, and lets pages read its own errors. Workers do so with what they answer."""

from wsgiapp.settings.schema import Settings
from wsgiapp.web.cors import CONTENT_TYPE, Cors

# Nginx's variables; a header with an empty value is not sent.
ALLOWED, OWN, OWN_VARY = "$allowed_origin", "$own_origin", "$own_vary"
METHOD, ASKED = "$http_access_control_request_method", "$http_access_control_request_headers"
MAX_ORIGIN_BYTES = 512  # of a host's name 253


def maps(settings: Settings) -> str:
    """The variables, for the level of `http`."""
    cors = Cors(settings.http)
    if not cors:
        return ""
    allowed = ['default "*";'] if cors.any else [f'"{origin}" "{origin}";' for origin in sorted(cors.origins)]
    vary = "" if cors.any else "Origin"
    return "\n    ".join(
        [
            f"map_hash_bucket_size {MAX_ORIGIN_BYTES};",
            *_map("$http_origin", ALLOWED, *allowed),
            # What a worker answered, which has its id, has these headers already.
            *_map("$upstream_http_x_request_id", OWN, f'"" {ALLOWED};', 'default "";'),
            *_map("$upstream_http_x_request_id", OWN_VARY, f'"" "{vary}";', 'default "";'),
            *_map(ASKED, "$asked_headers", '"" "";', f'default ", {ASKED}";'),
            *_map(
                f'"$request_method $http_origin {METHOD}"', "$preflight", '"~^OPTIONS [^ ]+ [^ ]+$" 1;', 'default "";'
            ),
        ]
    )


def own_headers(settings: Settings) -> list[str]:
    """The lines for what Nginx answers itself. A location with another `add_header` needs them, or has none."""
    cors = Cors(settings.http)
    if not cors:
        return []
    return [*_add_headers(cors.allowing(OWN)), f"add_header Vary {OWN_VARY} always;"]


def preflights(settings: Settings) -> str:
    """The lines for the level of `server`. Preflights are answered here, so that workers that are full reject none: of
    what follows a rejected one, a browser shows its page nothing."""
    cors = Cors(settings.http)
    if not cors:
        return ""
    headers = [*cors.allowing(ALLOWED), *cors.preflight("")]
    lines = [
        *own_headers(settings),
        "if ($preflight) {",
        "    rewrite ^ /_preflight last;",
        "}",
        "location = /_preflight {",
        "    internal;",
        *(f"    {line}" for line in _add_headers(headers)),
        *([] if cors.any else ["    add_header Vary Origin always;"]),
        "    return 200;",
        "}",
    ]
    return "\n        ".join(lines)


def _add_headers(headers: list[tuple[str, str]]) -> list[str]:
    values = {name: value + "$asked_headers" if value == CONTENT_TYPE else value for name, value in headers}
    return [f'add_header {name} "{value}" always;' for name, value in values.items()]


def _map(source: str, variable: str, *lines: str) -> list[str]:
    return [f"map {source} {variable} {{", *(f"    {line}" for line in lines), "}"]
