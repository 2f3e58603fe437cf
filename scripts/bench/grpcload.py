"""A closed loop straight at the model server: what is left of the latency when there is no gateway."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle
from queue import SimpleQueue

import grpc

from bench.cases import Case, TextCase
from bench.outcome import CpuClock, Load, Outcome
from wsgiapp.tfserving.messages import PredictRequest, PredictResponse
from wsgiapp.tfserving.stubs import PredictionServiceStub
from wsgiapp.tfserving.tensors import decode_tensor


@dataclass(frozen=True)
class GrpcCase:
    """A sentence as the model server takes it: `request` is a PredictRequest, serialized."""

    request: bytes
    text: TextCase

    def accepts(self, body: bytes) -> bool:
        """Whether `body`, a PredictResponse, is the right answer."""
        outputs = {name: decode_tensor(each) for name, each in PredictResponse.FromString(body).outputs.items()}
        label, class_id = outputs["labels"][0].decode(), int(outputs["classes_id"][0])
        return self.text.matches({"labels": label, "classes_id": class_id, "softmax": outputs["softmax"][0].tolist()})


def run(load: Load, cases: Sequence[Case]) -> Outcome:
    """Send the load; one connection waits for each answer itself, several are calls in flight on one channel."""
    outcome = Outcome()
    messages = cycle([(case, PredictRequest.FromString(case.request)) for case in cases])
    with grpc.insecure_channel(f"{load.host}:{load.port}") as channel:
        predict = PredictionServiceStub(channel).Predict
        done: SimpleQueue = SimpleQueue()

        def start() -> None:
            case, message = next(messages)
            sent = time.perf_counter()
            call = predict.future(message, timeout=load.timeout_seconds)
            call.add_done_callback(lambda call: done.put((call, case, sent)))

        def one() -> None:
            case, message = next(messages)
            sent = time.perf_counter()
            try:
                _judge(outcome, case, predict(message, timeout=load.timeout_seconds), sent)
            except grpc.RpcError as exc:
                outcome.wrong(exc.code().name, exc.details())

        def several() -> None:
            call, case, sent = done.get(timeout=2 * load.timeout_seconds)
            try:
                _judge(outcome, case, call.result(), sent)
            except grpc.RpcError as exc:
                outcome.wrong(exc.code().name, exc.details())
            start()

        step = one if load.connections == 1 else several
        if step is several:
            for _ in range(load.connections):
                start()
        _until(time.perf_counter() + load.warm_up_seconds, step)
        outcome = Outcome()
        clock = CpuClock(load.watched)
        started = time.perf_counter()
        _until(started + load.seconds, step)
        clock.stop(outcome)
        outcome.seconds = time.perf_counter() - started
    return outcome


def _until(moment: float, step: Callable[[], None]) -> None:
    while time.perf_counter() < moment:
        step()


def _judge(outcome: Outcome, case: Case, response: PredictResponse, sent: float) -> None:
    latency = time.perf_counter() - sent
    if case.accepts(response.SerializeToString()):
        outcome.latencies.append(latency)
    else:
        outcome.wrong("wrong", str(response)[:200])
