"""Predictions: `/predict` and `/<model>/predict`."""

from werkzeug.wrappers import Response

from wsgiapp.dataplane import DataPlane
from wsgiapp.http import Request, answer
from wsgiapp.pipelines import Media


def predict(request: Request, dataplane: DataPlane, model: str) -> Response:
    """Answer one payload with JSON whose `status` is 0, or with a bare picture."""
    request.note(model=model)
    result = dataplane.infer(model, request.payload())
    if isinstance(result, Media):
        return Response(result.content, mimetype=result.mimetype)
    return answer({"status": 0, **result})
