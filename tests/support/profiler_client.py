"""A client of TensorFlow's profiler service."""

from typing import Any

import grpc

from support.processes import poll
from support.serving_client import failure
from wsgiapp.modelserver.rpc.profiler_messages import (
    ProfileRequest,
    ProfileResponse,
    TerminateRequest,
    TerminateResponse,
)

SERVICE = "/tensorflow.ProfilerService"
TOO_LONG = 600_001  # milliseconds


class ProfilerClient:
    """The service as a client's stub has it."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.profile = channel.unary_unary(
            f"{SERVICE}/Profile", ProfileRequest.SerializeToString, ProfileResponse.FromString
        )
        self.terminate = channel.unary_unary(
            f"{SERVICE}/Terminate", TerminateRequest.SerializeToString, TerminateResponse.FromString
        )
        self.monitor = channel.unary_unary(f"{SERVICE}/Monitor")

    def trace(self, session: str, milliseconds: int, **options: Any) -> Any:
        request = ProfileRequest(session_id=session, **options)
        request.opts.duration_ms = milliseconds
        return self.profile.future(request, timeout=60)

    def is_active(self) -> bool:
        """Whether a trace is under way; what is too long is not begun."""
        code, _ = failure(self.trace("probe", TOO_LONG).result)
        return code == "ALREADY_EXISTS"

    def begin(self, session: str, **options: Any) -> Any:
        """A trace that is under way."""
        while True:
            call = self.trace(session, 500_000, **options)
            poll(lambda call=call: call.done() or self.is_active())  # type: ignore[misc]
            if not call.done():  # or it met the probe
                return call
