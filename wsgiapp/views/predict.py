"""Predictions: `/predict` and `/<model>/predict`."""

from werkzeug.wrappers import Response

from wsgiapp.http import Request, answer
from wsgiapp.pipelines import Media
from wsgiapp.views import Planes


def predict(request: Request, planes: Planes, model: str) -> Response:
    """Answer one payload with JSON whose `status` is 0, or with a bare picture."""
    request.note(model=model)
    result = planes.data.infer(model, request.payload())
    if isinstance(result, Media):
        return Response(result.content, mimetype=result.mimetype)
    return answer({"status": 0, **result})
