"""ModelService: what is loaded, and what shall be."""

import logging

import grpc

from wsgiapp.modelserver.errors import ServingError, aborting
from wsgiapp.modelserver.lifecycle.manager import Manager
from wsgiapp.modelserver.lifecycle.reloads import Reloads
from wsgiapp.modelserver.lifecycle.threads import Patience
from wsgiapp.tfserving.messages import (
    GetModelStatusRequest,
    GetModelStatusResponse,
    ReloadConfigRequest,
    ReloadConfigResponse,
)
from wsgiapp.tfserving.stubs import ModelServiceServicer

log = logging.getLogger(__name__)

# A call that waits answers this much before its deadline, so that its caller gets its words and not the client's own.
ANSWER_SECONDS = 0.25


class ModelService(ModelServiceServicer):
    """GetModelStatus and HandleReloadConfigRequest."""

    def __init__(self, manager: Manager, reloads: Reloads) -> None:
        self._manager = manager
        self._reloads = reloads

    def GetModelStatus(self, request: GetModelStatusRequest, context: grpc.ServicerContext) -> GetModelStatusResponse:
        with aborting(context):
            if not request.HasField("model_spec"):
                raise ServingError(grpc.StatusCode.INVALID_ARGUMENT, "Missing ModelSpec")
            return GetModelStatusResponse(model_version_status=self._manager.status(request.model_spec))

    def HandleReloadConfigRequest(
        self, request: ReloadConfigRequest, context: grpc.ServicerContext
    ) -> ReloadConfigResponse:
        """See `Reloads.reload`. An error is the call's status.

        TF Serving's (`model_service_impl.cc`) writes it into the response's `status`, too, but ends the call with it,
        and gRPC keeps the response of a call that failed to itself.
        """
        with aborting(context):
            if request.config.WhichOneof("config") != "model_config_list":
                raise ServingError(
                    grpc.StatusCode.INVALID_ARGUMENT,
                    "ServerModelConfig type not supported by HandleReloadConfigRequest. Only ModelConfigList is "
                    "currently supported; set config.model_config_list",
                )
            left = context.time_remaining()
            seconds = None if left is None else max(left - ANSWER_SECONDS, left / 2)
            try:
                self._reloads.reload(request.config, Patience.of(seconds, context.is_active))
            except ServingError as exc:
                log.error("ReloadConfig failed: %s: %s", exc.code.name, exc)
                raise
        return ReloadConfigResponse()
