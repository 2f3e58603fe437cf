"""The model server's process: models -> gRPC -> REST -> drain."""

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from functools import partial

import grpc

from wsgiapp.modelserver import text_configs
from wsgiapp.modelserver.flags import Flags
from wsgiapp.modelserver.lifecycle.config_file import ConfigFile
from wsgiapp.modelserver.lifecycle.config_reloads import ConfigReloads
from wsgiapp.modelserver.lifecycle.leases import Leases
from wsgiapp.modelserver.lifecycle.loader import DEFAULT_THREADS, Loader
from wsgiapp.modelserver.lifecycle.loading import LoadOptions, load
from wsgiapp.modelserver.lifecycle.model_roots import ModelRoots
from wsgiapp.modelserver.lifecycle.model_table import ModelTable
from wsgiapp.modelserver.lifecycle.reconciler import Reconciler
from wsgiapp.modelserver.lifecycle.threads import WaitDeadline, remaining
from wsgiapp.modelserver.lifecycle.versions import Retries
from wsgiapp.modelserver.rest_worker import RestWorker
from wsgiapp.modelserver.rpc import credentials, management_service
from wsgiapp.modelserver.rpc.admission import Admission
from wsgiapp.modelserver.rpc.health import Health
from wsgiapp.modelserver.rpc.listener import UNIX, Listener
from wsgiapp.modelserver.rpc.model_service import ModelService
from wsgiapp.modelserver.rpc.monitoring import CountingInterceptor, Metrics
from wsgiapp.modelserver.rpc.prediction_service import PredictionService
from wsgiapp.modelserver.rpc.profiler_service import ProfilerService
from wsgiapp.modelserver.servables import operations
from wsgiapp.modelserver.servables.batching import BatchScheduler
from wsgiapp.modelserver.servables.batching_parameters import read_parameters
from wsgiapp.modelserver.servables.servable import InferenceOptions
from wsgiapp.tfserving import model_config, texts
from wsgiapp.tfserving.messages import ModelServerConfig
from wsgiapp.tfserving.stubs import add_model_service, add_prediction_service

log = logging.getLogger(__name__)

DEFAULT_METRICS_PATH = "/monitoring/prometheus/metrics"
CLOSE_SECONDS = 2.0  # for closing what is loaded, after the drain; a load that hangs gets no more either


def serve(flags: Flags, config: ModelServerConfig, stop: threading.Event) -> bool:
    """Serve until `stop` is set, then drain; whether nothing was left behind (a load, or a call, that hangs).

    The ports are opened when the first attempt to load each model has ended, as TF Serving does, so that a client that
    gets through gets answers. Unlike there, a model that failed stops nothing, and one that takes longer than
    `first_load_seconds` does not keep the others waiting: the health service answers which are loaded.

    Raises `ServingError` for a configuration that cannot be applied, `SettingsError` for a file that does not parse or
    load, `RuntimeError` for a port that is taken.
    """
    operations.load_libraries(flags.operation_libraries)
    tls = credentials.read(flags.ssl_config_file) if flags.ssl_config_file else None
    table = ModelTable()
    roots = ModelRoots(flags.model_roots, model_config.models_of(config, where="the configuration").values())
    loader = _loader(flags, table, roots)
    leases = Leases(table, loader)
    reconciler = Reconciler(table, loader, max(0.0, flags.file_system_poll_wait_seconds))
    reloads = ConfigReloads(
        leases, reconciler, roots=roots, allow_unavailable=flags.allow_version_labels_for_unavailable_models
    )
    health, metrics, profiler = Health(leases), Metrics(leases, loader), ProfilerService()
    admission = Admission(flags.grpc_max_threads)
    leases.subscribe(lambda: admission.set_models(max(1, len(leases.availability()))))
    rest = _rest_worker(flags)
    try:
        reloads.start(config)
        reconciler.watch()
        first_load = WaitDeadline.after(flags.first_load_seconds, lambda: not stop.is_set())
        loaded = reconciler.wait_for_attempts(first_load)
        if stop.is_set():
            return reconciler.stop(CLOSE_SECONDS)
        if not loaded:
            log.warning("some models still load after %.0f s; serving the others", flags.first_load_seconds)
        listeners = _listeners(flags, metrics, rest)
        for listener in listeners:
            add_prediction_service(PredictionService(leases, _inference_options(flags), admission), listener.server)
            add_model_service(ModelService(leases, reloads), listener.server)
            health.add_to(listener.server)
            listener.server.add_generic_rpc_handlers((management_service.handler(reloads, metrics),))
            if flags.enable_profiler:
                listener.server.add_generic_rpc_handlers((profiler.handler(),))
        _open_ports(listeners, tls, rest)
        config_file = _config_file(flags, config, reloads)
        if config_file:
            config_file.start()
        if rest:
            rest.start()
        stop.wait()
        deadline = time.monotonic() + flags.drain_seconds
        log.info("draining for at most %.0f s", flags.drain_seconds)
        health.drain()
        profiler.drain()
        if config_file:
            config_file.stop(0)
        if rest:
            rest.stop(remaining(deadline))
        for stopped in [listener.stop(remaining(deadline)) for listener in listeners]:
            stopped.wait()
        return reconciler.stop(CLOSE_SECONDS)
    finally:
        if rest:
            rest.stop(0)


def _load_options(flags: Flags, roots: ModelRoots) -> LoadOptions:
    """Raises `SettingsError` for a file of batching parameters that is not one."""
    scheduler = None
    if flags.enable_batching:
        scheduler = BatchScheduler(read_parameters(flags.batching_parameters_file))
    threads = (flags.tensorflow_intra_op_parallelism, flags.tensorflow_inter_op_parallelism)
    if not any(threads):
        threads = (flags.tensorflow_session_parallelism, flags.tensorflow_session_parallelism)
    return LoadOptions(
        tags=tuple(flags.saved_model_tags.split(",")),
        warmup_iterations=max(1, flags.num_request_iterations_for_warmup) if flags.enable_model_warmup else 0,
        intra_op_threads=threads[0],
        inter_op_threads=threads[1],
        prefer_tflite=flags.prefer_tflite_model,
        scheduler=scheduler,
        roots=roots,
        inference=_inference_options(flags),
    )


def _inference_options(flags: Flags) -> InferenceOptions:
    return InferenceOptions(
        tensor_content=flags.enable_serialization_as_tensor_content,
        check_method_names=flags.enable_signature_method_name_check,
    )


def _loader(flags: Flags, table: ModelTable, roots: ModelRoots) -> Loader:
    """Raises `SettingsError` for a file of batching parameters that is not one."""
    max_pause = max(0.0, flags.load_retry_interval_micros / 1e6)  # a negative one: no pause
    return Loader(
        table,
        partial(load, options=_load_options(flags, roots)),
        Retries(max_retries=flags.max_num_load_retries, max_pause=max_pause),
        load_threads=flags.num_load_threads or DEFAULT_THREADS,
        unload_threads=flags.num_unload_threads or DEFAULT_THREADS,
    )


def _listeners(flags: Flags, metrics: Metrics, rest: RestWorker | None) -> list[Listener]:
    """One for the port, one for the socket, one for the REST worker."""
    options: Mapping[str, int | str] = {
        "grpc.max_receive_message_length": -1,  # as TF Serving: the gateway has limits, the model server none
        "grpc.max_send_message_length": -1,
        "grpc.so_reuseport": 0,  # a port that is taken is an error, not a share of its calls
        **dict(flags.grpc_channel_arguments),
    }
    addresses = {}
    if flags.port:
        addresses[f"{flags.host}:{flags.port}"] = flags.management == "all"
    if flags.grpc_socket_path:
        addresses[f"{UNIX}{flags.grpc_socket_path}"] = True
    if rest:
        addresses[rest.backend_address] = True
    return [
        Listener(
            address,
            manages=manages,
            slots=flags.grpc_max_threads,
            options=list(options.items()),
            interceptors=[CountingInterceptor(metrics)],
        )
        for address, manages in addresses.items()
    ]


def _open_ports(listeners: Sequence[Listener], tls: grpc.ServerCredentials | None, rest: RestWorker | None) -> None:
    """Listen at all addresses, and log each of the flags' in TF Serving's form."""
    for listener in listeners:
        is_private = rest is not None and listener.address == rest.backend_address
        listener.open(None if is_private else tls)
        if is_private:
            continue
        path = listener.address.removeprefix(UNIX)
        if path != listener.address:
            log.info("%s", texts.RUNNING_GRPC_AT_SOCKET.format(path=path))
        else:
            log.info("%s", texts.RUNNING_GRPC.format(address=path))
        log.info("serving gRPC on %s", listener.address)


def _config_file(flags: Flags, config: ModelServerConfig, reloads: ConfigReloads) -> ConfigFile | None:
    seconds = flags.model_config_file_poll_wait_seconds
    if not flags.model_config_file or seconds <= 0:
        return None
    return ConfigFile(flags.model_config_file, config, reloads, seconds)


def _rest_worker(flags: Flags) -> RestWorker | None:
    metrics_path = _metrics_path(flags)
    if not flags.rest_api_port:
        return None
    if flags.rest_api_port == flags.port:
        log.error("--rest_api_port cannot be same as --port. Please use a different port for HTTP/REST API.")
        return None
    return RestWorker(
        flags.host,
        flags.rest_api_port,
        drain_seconds=flags.drain_seconds,
        call_seconds=max(flags.rest_api_timeout_in_ms, 1) / 1000,
        metrics_path=metrics_path,
        cors=flags.rest_api_enable_cors_support,
    )


def _metrics_path(flags: Flags) -> str:
    """Where metrics are served, or nothing."""
    if not flags.monitoring_config_file:
        return ""
    prometheus = text_configs.read("MonitoringConfig", flags.monitoring_config_file).prometheus_config
    if not prometheus.enable:
        return ""
    return prometheus.path or DEFAULT_METRICS_PATH
