"""What loads are aimed at: a system, the requests that it gets, and the way they take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.cases import Case, ConstantCase
from bench.grpcload import GrpcCase
from bench.outcome import Load
from bench.peers.empty_pywsgi import ANSWER
from bench.peers.words import segment
from bench.plan import WARM_UP_SECONDS, Shape
from bench.processes import MODEL_SERVER, group_of
from bench.systems import Peer, Stack, System
from bench.workload import ModelServer, photographs, rest_case, sentences, text_request

# The stack's own names, for what is sent to it otherwise than as a sentence to the gateway.
REST, GRPC = "rest", "grpc"
TITLES = {REST: "wsgiapp, TF Serving's REST", GRPC: "raw gRPC, no gateway"}


@dataclass(frozen=True)
class Subject:
    """`kind` is what is sent: "text" or "image"; `cases` names the set of requests in the load generator."""

    name: str
    title: str
    kind: str
    cases: str
    system: System
    over_grpc: bool = False

    def load(self, shape: Shape) -> Load:
        """A load of this shape on this subject, with its processes watched."""
        host, port, watched = self.system.host, self.system.port, self.system.pids()
        if self.over_grpc and isinstance(self.system, Stack):
            host, _, digits = self.system.backend.partition(":")
            port, watched = int(digits), [pid for pid in watched if group_of(pid) == MODEL_SERVER]
        return Load(
            host,
            port,
            shape.connections,
            shape.seconds,
            WARM_UP_SECONDS,
            shape.keep_alive,
            shape.rate,
            watched=tuple(watched),
        )

    def pause(self) -> None:
        """Keep a server that polls quiet while others are measured."""
        if isinstance(self.system, Peer):
            self.system.pause()

    def resume(self) -> None:
        """Let it go on."""
        if isinstance(self.system, Peer):
            self.system.resume()


def text_subjects(systems: Sequence[System], wanted: Sequence[str]) -> list[Subject]:
    """The systems that answer sentences, and the two other ways into the stack."""
    subjects = []
    for system in systems:
        if system.name in wanted:
            cases = "constant" if system.name == "empty" else "text"
            subjects.append(Subject(system.name, system.title, "text", cases, system))
        if isinstance(system, Stack):
            for name in (REST, GRPC):
                if name in wanted:
                    subjects.append(Subject(name, TITLES[name], "text", name, system, over_grpc=name == GRPC))
    return subjects


def image_subjects(systems: Sequence[System], wanted: Sequence[str]) -> list[Subject]:
    """The systems that answer pictures, too."""
    return [
        Subject(system.name, system.title, "image", "image", system)
        for system in systems
        if system.name in wanted and (isinstance(system, Stack) or system.recipe.serves_images)
    ]


def all_cases(stack: Stack, jpegs: Sequence[bytes] | None = None) -> dict[str, Sequence[Case]]:
    """Every set of requests by its name, with the right answers, asked of the model server one by one."""
    server = ModelServer(stack.backend)
    try:
        texts = server.texts(sentences())
        return {
            "text": list(texts.values()),
            "constant": [ConstantCase(case.request, ANSWER) for case in texts.values()],
            REST: [rest_case(line, case) for line, case in texts.items()],
            GRPC: [GrpcCase(text_request(segment(line)).SerializeToString(), case) for line, case in texts.items()],
            "image": server.images(photographs() if jpegs is None else jpegs),
        }
    finally:
        server.close()
