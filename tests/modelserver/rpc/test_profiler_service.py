"""Traces over the model server's own port."""

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support.processes import poll
from support.profiler_client import TOO_LONG, ProfilerClient
from support.serving_client import ServingClient, failure, model_spec, predict_request
from support.tensorflow_child import run_child
from wsgiapp.modelserver.rpc.profiler_messages import ProfileRequest, TerminateRequest
from wsgiapp.tfserving.messages import without_tensorflow

with without_tensorflow():
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

HOST = "/host:CPU"


@pytest.fixture
def profiler(serving: ServingClient) -> ProfilerClient:
    return ProfilerClient(serving.channel)


def busy(client: ServingClient, future: "Future[Any]") -> None:
    """Ask for predictions until something has ended."""
    request = predict_request(model_spec("tiny"), {"x": np.ones((1, 1), np.float32)})
    while not future.done():
        client.predict(request)


def events(trace: bytes) -> set[str]:
    """The names of what was recorded on the processor."""
    space = xplane_pb2.XSpace.FromString(trace)
    (plane,) = (plane for plane in space.planes if plane.name == HOST)
    return {plane.event_metadata[event.metadata_id].name for line in plane.lines for event in line.events}


def is_of_a_session(trace: bytes) -> bool:
    return any("Session" in name for name in events(trace))


def test_tensorflow_s_client_collects_a_trace(serving: ServingClient, tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(run_child, "trace", serving.address, str(tmp_path))
        busy(serving, future)
    assert any("xplane.pb" in line for line in future.result())
    (file,) = tmp_path.glob("plugins/profile/*/*.xplane.pb")  # where TensorBoard looks
    assert file.name == f"{serving.address.replace(':', '_')}.xplane.pb"
    assert is_of_a_session(file.read_bytes())


def test_a_trace_may_come_as_a_message_and_ends_when_it_is_terminated(
    serving: ServingClient, profiler: ProfilerClient
) -> None:
    def terminated() -> Any:
        call = profiler.begin("s", emit_xspace=True)
        serving.predict(predict_request(model_spec("tiny"), {"x": np.ones((1, 1), np.float32)}))
        profiler.terminate(TerminateRequest(session_id="another"))
        assert not call.done()
        profiler.terminate(TerminateRequest(session_id="s"))
        response = call.result()
        assert not response.tool_data
        return None if response.empty_trace else response  # the prediction may have been too early

    assert is_of_a_session(poll(terminated).xspace)


def test_nothing_recorded_is_said(profiler: ProfilerClient) -> None:
    response = profiler.trace("s", 1).result()
    assert response.empty_trace
    assert [tool.name for tool in response.tool_data] == ["xplane.pb"]


def test_a_client_that_leaves_ends_its_trace(profiler: ProfilerClient) -> None:
    profiler.begin("s").cancel()
    poll(lambda: not profiler.is_active())


def test_what_is_rejected(profiler: ProfilerClient) -> None:
    assert failure(profiler.trace("s", TOO_LONG).result) == (
        "INVALID_ARGUMENT",
        "opts.duration_ms is more than 600000: trace a shorter time",
    )
    assert failure(profiler.monitor, b"") == ("UNIMPLEMENTED", "unimplemented.")


def test_the_flag_turns_it_off(flagged: ServingClient) -> None:
    assert failure(ProfilerClient(flagged.channel).profile, ProfileRequest())[0] == "UNIMPLEMENTED"
