"""The standard gRPC health service (grpc.health.v1): the whole server, and each model by its name."""

import threading

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import OVERALL_HEALTH, HealthServicer

from wsgiapp.modelserver.lifecycle.leases import Leases

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVICE_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


class Health:
    """Keeps the health service up to date.

    A model is SERVING while a version of it is AVAILABLE, the server while all models are.
    """

    def __init__(self, leases: Leases) -> None:
        self._leases = leases
        self._servicer = HealthServicer()
        self._servicer.set(OVERALL_HEALTH, NOT_SERVING)
        self._published: dict[str, int] = {OVERALL_HEALTH: NOT_SERVING}
        self._lock = threading.Lock()  # one update at a time, so that the last one published is the present state
        leases.subscribe(self.update)

    def add_to(self, server: grpc.Server) -> None:
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)

    def update(self) -> None:
        """Publish what has changed."""
        with self._lock:
            models = self._leases.availability()
            now = {name: SERVING if available else NOT_SERVING for name, available in models.items()}
            now[OVERALL_HEALTH] = SERVING if all(models.values()) else NOT_SERVING
            for name in self._published.keys() - now.keys():
                now[name] = SERVICE_UNKNOWN
            for name, status in now.items():
                if self._published.get(name) != status:
                    self._servicer.set(name, status)
            self._published = now

    def drain(self) -> None:
        """NOT_SERVING from now on."""
        self._servicer.enter_graceful_shutdown()
