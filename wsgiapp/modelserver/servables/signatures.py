"""Signatures by their method names (`tensorflow/cc/saved_model/signature_constants.h`)."""

from google.protobuf import text_format

from wsgiapp.modelserver.errors import invalid_argument
from wsgiapp.modelserver.servables.servable import Servable
from wsgiapp.tfserving import texts
from wsgiapp.tfserving.messages import SignatureDef

CLASSIFY = "tensorflow/serving/classify"
REGRESS = "tensorflow/serving/regress"
PREDICT = "tensorflow/serving/predict"
METHOD_NAMES = (PREDICT, CLASSIFY, REGRESS)


def find_signature(servable: Servable, key: str) -> SignatureDef:
    """The signature that Classify or Regress asks for. Raises `ServingError`."""
    if key not in servable.signatures:
        raise invalid_argument(texts.NO_SIGNATURE.format(name=key))
    return servable.signatures[key]


def check_method_name(signature: SignatureDef, kind: str, method_name: str) -> None:
    """Reject a signature that was exported for another call. Raises `ServingError`."""
    if signature.method_name != method_name:
        names = {"expected": method_name, "found": signature.method_name}
        raise invalid_argument(texts.WRONG_METHOD_NAME.format(kind=kind, **names))


def signature_text(signature: SignatureDef) -> str:
    """A signature in one line, for an error's text."""
    return text_format.MessageToString(signature, as_one_line=True)
