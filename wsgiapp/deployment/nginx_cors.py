"""CORS in Nginx: it answers preflights, and lets pages read its own errors. Workers do so with what they answer."""

from wsgiapp.settings.schema import Settings
from wsgiapp.web.cors import CONTENT_TYPE, Cors

# Nginx's variables; a header with an empty value is not sent.
ALLOWED, ORIGIN, VARY = "$cors_allowed_origin", "$cors_access_control_allow_origin", "$cors_vary"
METHOD, ASKED = "$http_access_control_request_method", "$http_access_control_request_headers"
HASH_BUCKET_BYTES = 512  # an origin has up to 300, see `Origins`


def maps(settings: Settings) -> str:
    """The variables, for the level of `http`, before any other map there: the first one fixes the size of all."""
    cors = Cors(settings.http)
    if not cors:
        return ""
    allowed = ['default "*";'] if cors.any else [f'"{origin}" "{origin}";' for origin in sorted(cors.origins)]
    if not cors.any and len(cors.origins) == 1:  # of a request whose line is too long, Nginx reads no headers
        allowed.append(f'"" "{min(cors.origins)}";')
    constant = [(_variable(name), value) for name, value in cors.allowing(ALLOWED) if value != ALLOWED]
    lines = [
        f"map_hash_bucket_size {HASH_BUCKET_BYTES};",
        *_map("$http_origin", ALLOWED, *allowed),
        # What a worker answered, which has its id, has these headers already.
        *_map("$upstream_http_x_request_id", ORIGIN, f'"" {ALLOWED};', 'default "";'),
        *_map("$upstream_http_x_request_id", VARY, f'"" "{"" if cors.any else "Origin"}";', 'default "";'),
        *(line for name, value in constant for line in _map(ORIGIN, name, '"" "";', f'default "{value}";')),
        *_map(ASKED, "$cors_asked_headers", '"" "";', f'default ", {ASKED}";'),
        *_map(
            f'"$request_method $http_origin {METHOD}"', "$cors_preflight", '"~^OPTIONS [^ ]+ [^ ]+$" 1;', 'default "";'
        ),
    ]
    return "\n    ".join(lines)


def own_headers(settings: Settings) -> list[str]:
    """The lines for what Nginx answers itself. A location with another `add_header` needs them, or has none."""
    cors = Cors(settings.http)
    names = [*(name for name, _ in cors.allowing(ALLOWED)), "Vary"] if cors else []
    return [f"add_header {name} {_variable(name)} always;" for name in names]


def preflights(settings: Settings, others: list[str]) -> str:
    """The lines for the level of `server`; `others` are those of other headers there.

    Preflights are answered here, so that workers that are full reject none: of what follows a rejected one, a browser
    shows its page nothing.
    """
    cors = Cors(settings.http)
    if not cors:
        return ""
    values = {
        name: f"{value}$cors_asked_headers" if value == CONTENT_TYPE else value for name, value in cors.preflight("")
    }
    lines = [
        *own_headers(settings),
        "if ($cors_preflight) {",
        "    rewrite ^ /_preflight last;",
        "}",
        "location = /_preflight {",
        "    internal;",
        *(f"    {line}" for line in [*others, *own_headers(settings)]),
        *(f'    add_header {name} "{value}" always;' for name, value in values.items()),
        "    return 200;",
        "}",
    ]
    return "\n        ".join(lines)


def _variable(header: str) -> str:
    return f"$cors_{header.lower().replace('-', '_')}"


def _map(source: str, variable: str, *lines: str) -> list[str]:
    return [f"map {source} {variable} {{", *(f"    {line}" for line in lines), "}"]
