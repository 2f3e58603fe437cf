"""`Route`: how the predictions of one configured model are made."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from wsgiapp.backend.interface import Target
from wsgiapp.inference.native_threads import NativeThreads
from wsgiapp.inference.shared_calls import SharedCalls
from wsgiapp.inference.traffic import Split
from wsgiapp.pipelines.pipeline import Payload, Prepared, Result
from wsgiapp.tfserving.tensors import Arrays

# What most requests cost, and what is taken where a pipeline does not say.
USUAL_COST = 1.0


def usual_cost(payload: Payload) -> float:
    """The cost of a request to a pipeline that has no `cost` of its own."""
    return USUAL_COST


@dataclass(frozen=True, slots=True)
class Choice:
    """The version or label a request asks for; with neither, the model's settings decide.

    `key` tells clients apart where they are split among labels.
    """

    version: int | None = None
    label: str = ""
    key: str = ""


@dataclass(frozen=True, slots=True)
class Route:
    """A model's target, the steps of its pipeline, and the calls to the model server between them.

    `threads` is where the steps run, where they are too heavy for the event loop. `large_calls` are those of requests
    that cost many times the usual: they have slots of their own, because a usual request that came behind one of them
    would wait for it.
    """

    target: Target
    split: Split | None
    split_key: str
    warm_up: Callable[[], None]
    preprocess: Callable[[Payload], Prepared]
    postprocess: Callable[[Arrays, Any], Result]
    calls: SharedCalls
    large_calls: SharedCalls
    cost: Callable[[Payload], float]
    deadline_seconds: float
    threads: NativeThreads | None = None

    def prepare(self, payload: Payload, deadline: float) -> Prepared:
        """The model's inputs. Raises what the pipeline raises, and `DeadlineExceeded`."""
        if self.threads:
            return self.threads.run(deadline, self.preprocess, payload)
        return self.preprocess(payload)

    def finish(self, outputs: Arrays, context: Any, deadline: float) -> Result:
        """The answer. Raises what the pipeline raises, and `DeadlineExceeded`."""
        if self.threads:
            return self.threads.run(deadline, self.postprocess, outputs, context)
        return self.postprocess(outputs, context)

    def choose(self, choice: Choice) -> Target:
        """What a request is sent to."""
        if choice.version is not None or choice.label:
            return replace(self.target, version=choice.version, label=choice.label)
        if self.split:
            return replace(self.target, label=self.split.label(choice.key))
        return self.target

    def targets(self) -> list[Target]:
        """All that requests without a choice of their own may be sent to."""
        return [replace(self.target, label=label) for label in self.split.labels] if self.split else [self.target]
