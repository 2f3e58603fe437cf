"""ModelService: the states of versions, and reloads of the configuration."""

import logging

import grpc

from wsgiapp.modelserver.errors import ServingError, aborting, invalid_argument
from wsgiapp.modelserver.lifecycle.config_reloads import ConfigReloads
from wsgiapp.modelserver.lifecycle.leases import Leases
from wsgiapp.modelserver.lifecycle.threads import WaitDeadline
from wsgiapp.tfserving import texts
from wsgiapp.tfserving.messages import (
    GetModelStatusRequest,
    GetModelStatusResponse,
    ReloadConfigRequest,
    ReloadConfigResponse,
)
from wsgiapp.tfserving.stubs import ModelServiceServicer

log = logging.getLogger(__name__)

# A reload that waits ends this much before its deadline, so that the client gets its error, not only DEADLINE_EXCEEDED.
ANSWER_SECONDS = 0.25


class ModelService(ModelServiceServicer):
    """GetModelStatus and HandleReloadConfigRequest."""

    def __init__(self, leases: Leases, reloads: ConfigReloads) -> None:
        self._leases = leases
        self._reloads = reloads

    def GetModelStatus(self, request: GetModelStatusRequest, context: grpc.ServicerContext) -> GetModelStatusResponse:
        with aborting(context):
            if not request.HasField("model_spec"):
                raise invalid_argument(texts.MISSING_MODEL_SPEC)
            return GetModelStatusResponse(model_version_status=self._leases.status(request.model_spec))

    def HandleReloadConfigRequest(
        self, request: ReloadConfigRequest, context: grpc.ServicerContext
    ) -> ReloadConfigResponse:
        """See `ConfigReloads.reload`. An error is the call's status.

        TF Serving's (`model_service_impl.cc`) writes it into the response's `status`, too, but ends the call with it,
        and gRPC sends no response message of a call that failed.
        """
        with aborting(context):
            if request.config.WhichOneof("config") != "model_config_list":
                raise invalid_argument(f"{texts.CONFIG_TYPE_NOT_SUPPORTED}; set config.model_config_list")
            left = context.time_remaining()
            seconds = None if left is None else max(left - ANSWER_SECONDS, left / 2)
            try:
                self._reloads.reload(request.config, WaitDeadline.after(seconds, context.is_active))
            except ServingError as exc:
                log.error("%s%s: %s", texts.RELOAD_FAILED, exc.code.name, exc)
                raise
        return ReloadConfigResponse()
