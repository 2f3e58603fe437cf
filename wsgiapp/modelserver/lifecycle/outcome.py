"""What became of models that a reload waits for."""

from collections.abc import Mapping
from typing import NamedTuple

from wsgiapp.modelserver.lifecycle.versions import START, Model


class Failure(NamedTuple):
    """What keeps a model, or one of its versions, from being AVAILABLE."""

    model: str
    version: int | None
    error: str


class Outcome(NamedTuple):
    """What became of models that were waited for."""

    superseded: bool  # by a later configuration
    pending: list[str]  # the versions that are still loading, as "version 1 of model m"
    failures: list[Failure]


def pending(models: Mapping[str, Model], known: Mapping[str, set[int]]) -> list[str]:
    """The versions that are being loaded, without those that were `known` before. Under the lock."""
    return [
        f"version {each.number} of model {name}"
        for name, model in models.items()
        for each in model.pending()
        if each.number not in known.get(name, ())
    ]


def failures(name: str, model: Model, known: set[int]) -> list[Failure]:
    """What keeps a model from being as it is configured, without the versions `known` before. Under the lock.

    A version that is still being copied is no failure of a model that serves another one.
    """
    serves = bool(model.available()) and not model.config.specific
    wanted = [each for each in model.newest_first() if each.number in (model.wanted or set()) - known]
    found = [
        Failure(name, each.number, each.error) for each in wanted if each.error and not (serves and each.state == START)
    ]
    if model.base_path_error or not (found or model.available()):
        found.append(Failure(name, None, model.base_path_error or "none of its versions was found"))
    return found
