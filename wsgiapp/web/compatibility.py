"""Errors as clients of a Flask service expect them: `http.compatibility = "flask"`."""

import orjson

from wsgiapp.web.problems import is_tf_serving
from wsgiapp.web.response import Response, json_bytes

FAILED = -1
PREDICTIONS = "/predict"


def as_flask(response: Response, path: str) -> Response:
    """An error of a prediction with HTTP 200 and a `status` of -1; any other answer as it is.

    Health and readiness keep their statuses, for load balancers, and what is below `/v1/` those of TF Serving.
    """
    if response.status < 400 or not path.endswith(PREDICTIONS) or is_tf_serving(path):
        return response
    problem = orjson.loads(response.body)
    body = {"status": FAILED, "code": response.status, "message": problem["detail"]}
    body |= {name: problem[name] for name in ("field", "request_id") if name in problem}
    converted = Response(json_bytes(body))
    own = {name for name, _ in converted.headers}
    converted.headers += [header for header in response.headers if header[0] not in own]
    return converted
