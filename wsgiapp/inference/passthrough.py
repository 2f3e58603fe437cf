"""`Passthrough`: Predict for callers that know the signature only from the model server."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from wsgiapp.backend.interface import Backend, Target
from wsgiapp.errors import InvalidArgument, NotFound, Unavailable
from wsgiapp.tfserving import texts
from wsgiapp.tfserving.saved_model import DEFAULT_SIGNATURE
from wsgiapp.tfserving.tensors import Arrays

InputTypes = Mapping[str, int]  # a signature's `DT_*` types by the input's name
Encode = Callable[[InputTypes], Arrays]

# Versions that change under a request again and again, each with other inputs: two model servers behind one address.
ATTEMPTS = 4
# Targets are few; this bounds what a worker keeps over months of new versions.
MAX_KNOWN = 4096


@dataclass(frozen=True, slots=True)
class _Known:
    version: int
    signatures: Mapping[str, InputTypes]

    def inputs(self, signature: str) -> InputTypes:
        name = signature or DEFAULT_SIGNATURE
        inputs = self.signatures.get(name)
        if inputs is None:
            raise InvalidArgument(texts.SIGNATURE_NAME_NOT_FOUND.format(name=name))
        if not inputs:
            raise InvalidArgument(texts.NO_INPUT_MAP.format(name=signature or "DEFAULT"))
        return inputs


class Passthrough:
    """Encodes inputs by a signature it remembers, and makes sure that the version that answered has that signature.

    In the steady state a prediction is one call. The request goes to the target as the client named it (latest, label
    or version), so that the model server alone decides which version answers and a version that goes away meanwhile
    costs nobody a 404. Its answer names the version: where that is another one than the signature was taken from, its
    own signature is fetched, and inputs that it would have read otherwise are encoded and sent again. An error, too,
    counts only when it comes by the signature that is active now.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._known: dict[Target, _Known] = {}

    def predict(self, target: Target, encode: Encode, deadline: float) -> tuple[Arrays, int]:
        """The outputs, and the version that answered; `encode` makes the inputs for a signature.

        Raises one of `errors.RequestError`, among them what `encode` raises.
        """
        known = self._known.get(_key(target)) or self._learn(target, deadline)
        for _ in range(ATTEMPTS):
            try:
                inputs = known.inputs(target.signature)
                outputs, version = self._backend.predict(target, encode(inputs), deadline)
            except InvalidArgument:
                newest = self._learn(target, deadline)
                if newest == known:
                    raise
                known = newest
                continue
            if version == known.version:
                return outputs, version
            known = self._of_version(target, version, deadline)
            if known.version == version and known.signatures.get(target.signature or DEFAULT_SIGNATURE) == inputs:
                return outputs, version
        raise Unavailable("the versions of the model change faster than a request can follow")

    def _of_version(self, target: Target, version: int, deadline: float) -> _Known:
        """What is known of a version that answered for the target; of the present one, where it has gone since."""
        exact = replace(target, version=version, label="")
        try:
            known = self._known.get(_key(exact)) or self._learn(exact, deadline)
        except NotFound:
            return self._learn(target, deadline)
        self._known[_key(target)] = known
        return known

    def _learn(self, target: Target, deadline: float) -> _Known:
        signatures, version = self._backend.metadata(target, deadline)
        known = _Known(
            version,
            {
                name: {alias: info.dtype for alias, info in signature.inputs.items()}
                for name, signature in signatures.signature_def.items()
            },
        )
        if len(self._known) >= MAX_KNOWN:
            self._known.clear()
        self._known[_key(target)] = self._known[_key(replace(target, version=version, label=""))] = known
        return known


def _key(target: Target) -> Target:
    return replace(target, signature="")
