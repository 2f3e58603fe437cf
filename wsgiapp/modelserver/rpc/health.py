"""The standard gRPC health service (grpc.health.v1): the whole server, and each model by its name."""

import threading

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import OVERALL_HEALTH, HealthServicer

from wsgiapp.modelserver.lifecycle.manager import Manager

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVICE_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


class Health:
    """Keeps the health service's answers true: a model serves while a version of it is AVAILABLE; all, while all do."""

    def __init__(self, manager: Manager) -> None:
        self._manager = manager
        self._servicer = HealthServicer()
        self._servicer.set(OVERALL_HEALTH, NOT_SERVING)
        self._told: dict[str, int] = {OVERALL_HEALTH: NOT_SERVING}
        self._lock = threading.Lock()  # one update at a time, so that the last one told is the last one true
        manager.subscribe(self.update)

    def add_to(self, server: grpc.Server) -> None:
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)

    def update(self) -> None:
        """Tell what has changed."""
        with self._lock:
            models = self._manager.availability()
            now = {name: SERVING if available else NOT_SERVING for name, available in models.items()}
            now[OVERALL_HEALTH] = SERVING if all(models.values()) else NOT_SERVING
            for name in self._told.keys() - now.keys():
                now[name] = SERVICE_UNKNOWN
            for name, status in now.items():
                if self._told.get(name) != status:
                    self._servicer.set(name, status)
            self._told = now

    def drain(self) -> None:
        """NOT_SERVING from now on."""
        self._servicer.enter_graceful_shutdown()
