"""A SavedModel of TensorFlow 1 or 2, in a session of its own."""

import ctypes
import gc
import re
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import grpc
import numpy as np

from wsgiapp.modelserver.errors import ServingError
from wsgiapp.modelserver.servables import operations, runtime
from wsgiapp.modelserver.servables.session_call import POOL, SHORT_SECONDS, Run, SessionCall, Trials
from wsgiapp.modelserver.servables.tensors import as_array
from wsgiapp.tfserving import texts
from wsgiapp.tfserving.messages import SignatureDef
from wsgiapp.tfserving.saved_model import SERVE_TAG
from wsgiapp.tfserving.tensors import Arrays
from wsgiapp.tfserving.version_dirs import BINARY_FILE, CHUNKED_FILE, TEXT_FILE

# Each set of outputs that clients ask for is prepared once, which takes memory: the oldest one is removed.
MAX_CALLABLES = 128

# Of errors in TensorFlow's Python: its Saver's, and those that name the node of a graph.
ORIGINAL_ERROR, GRAPH_ERROR = "Original error:", "Graph execution error:"
ROOT_ERROR = re.compile(r"\d+ root error\(s\) found\.|\(0\) [A-Z_ ]+: ")

GRPC_CODES: Mapping[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}


class SavedModelServable:
    """A SavedModel in a session of its own, so that unloading it frees all it took."""

    def __init__(
        self,
        path: Path,
        tags: Sequence[str] = (SERVE_TAG,),
        *,
        intra_op_threads: int = 0,
        inter_op_threads: int = 0,
        short_seconds: float = SHORT_SECONDS,
    ) -> None:
        """Load the meta graph with the `tags`. Raises `ServingError` in one line that names the directory.

        `inter_op_threads` run operations at the same time; with 0, as many as there are cores, for calls that take more
        than `short_seconds` of CPU time.
        """
        config = runtime.config_pb2.ConfigProto(
            intra_op_parallelism_threads=intra_op_threads, inter_op_parallelism_threads=inter_op_threads
        )
        config.gpu_options.allow_growth = True
        self._session = runtime.Session(graph=runtime.Graph(), config=config)
        self._choose_threads = not inter_op_threads
        self._short_seconds = short_seconds
        self._callables: dict[tuple[tuple[str, ...], tuple[str, ...]], Run] = {}
        self._lock = threading.Lock()
        self.signatures: Mapping[str, SignatureDef] = {}
        error: ServingError | None = None
        try:
            meta_graph = runtime.load_saved_model(self._session, list(tags), str(path), operations.load_for)
            self.signatures = dict(meta_graph.signature_def)
        except Exception as exc:
            error = _load_error(path, exc)
        if error is not None:  # only now, when the frames of TensorFlow's error refer to the graph no more
            self.close()
            raise error

    def run(self, feeds: Arrays, fetches: Sequence[str]) -> list[np.ndarray]:
        """As `servable.Servable.run`."""
        feed_names, fetch_names = tuple(sorted(feeds)), tuple(sorted(set(fetches)))
        try:
            values = self._callable(feed_names, fetch_names)(*(feeds[name] for name in feed_names))
        except runtime.errors.OpError as exc:
            raise ServingError(GRPC_CODES[exc.error_code], exc.message) from exc
        by_name = dict(zip(fetch_names, map(as_array, values), strict=True))
        return [by_name[name] for name in fetches]

    def close(self) -> None:
        """As `servable.Servable.close`."""
        self._callables.clear()
        self._session.close()
        del self._session
        release_memory()

    def _callable(self, feeds: tuple[str, ...], fetches: tuple[str, ...]) -> Run:
        """A prepared call, one a set of tensors. As TF Serving's session, it skips what `Session.run` does in Python.

        `Session.make_callable`, the public way to one, falls back on `Session.run` as soon as there are inputs.
        """

        def prepare(pool: int) -> Run:
            options = runtime.config_pb2.CallableOptions(feed=feeds, fetch=fetches)
            options.run_options.inter_op_thread_pool = pool
            run: Run = self._session._make_callable_from_options(options)
            return run

        with self._lock:
            if (feeds, fetches) not in self._callables:
                if len(self._callables) == MAX_CALLABLES:
                    del self._callables[next(iter(self._callables))]
                self._callables[feeds, fetches] = (
                    SessionCall(prepare, Trials(self._short_seconds)) if self._choose_threads else prepare(POOL)
                )
            return self._callables[feeds, fetches]


def release_memory() -> None:
    """Give freed memory back to the system; without it, glibc keeps the pages of many small pieces."""
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except AttributeError:  # not glibc
        return


def _load_error(path: Path, exc: Exception) -> ServingError:
    """What TensorFlow's loader raised, in one line for the operator: the directory, the reason, what to do."""
    code, advice = _advice(path, exc)
    return ServingError(code, f"{path}: {advice} ({_reason(exc)})")


def _reason(exc: Exception) -> str:
    """The line of TensorFlow's error that says what is wrong; in front of it may stand who met it, and where."""
    text = str(getattr(exc, "message", "") or exc).rpartition(ORIGINAL_ERROR)[2]
    if GRAPH_ERROR in text:
        text = re.split(r"^Node: .*$", text, flags=re.MULTILINE)[-1]
    lines = (ROOT_ERROR.sub("", line.strip()) for line in text.splitlines())
    return next((line for line in lines if line and line != GRAPH_ERROR), type(exc).__name__)


def _advice(path: Path, exc: Exception) -> tuple[grpc.StatusCode, str]:
    if not any((path / name).exists() for name in (BINARY_FILE, TEXT_FILE)):
        if (path / CHUNKED_FILE).exists():
            return grpc.StatusCode.UNIMPLEMENTED, (
                f"{CHUNKED_FILE} can be read by TensorFlow's C++ loader only, as in TF Serving's container: export the "
                "model without SaveOptions(experimental_image_format=True)"
            )
        return grpc.StatusCode.NOT_FOUND, f"{texts.NO_SAVED_MODEL}: copy the whole export into it"
    match exc:
        case PermissionError() | runtime.errors.PermissionDeniedError():
            return grpc.StatusCode.PERMISSION_DENIED, "its files cannot be read: let the server's user read them"
        case OSError():
            return grpc.StatusCode.DATA_LOSS, "saved_model.pb is truncated or no SavedModel: copy the export again"
        case RuntimeError() if "MetaGraphDef associated with tags" in str(exc):
            return grpc.StatusCode.NOT_FOUND, (
                "it has no meta graph with the tags of --saved_model_tags: export the model with them"
            )
        case ValueError() if "not a valid checkpoint" in str(exc):
            return grpc.StatusCode.NOT_FOUND, "variables/variables.index is missing: copy the export again"
        case runtime.errors.NotFoundError() if "Op type not registered" in str(exc):
            return grpc.StatusCode.UNIMPLEMENTED, operations.advice()
        case runtime.errors.InvalidArgumentError() if "Cannot assign a device for operation" in str(exc):
            return grpc.StatusCode.INVALID_ARGUMENT, (
                "it wants a device that is not here: export it without `tf.device`, or serve it where there is one"
            )
        case runtime.errors.OpError() if "variables" in str(exc) or "RestoreV2" in str(exc):
            return grpc.StatusCode.DATA_LOSS, "its variables are missing or truncated: copy the export again"
        case runtime.errors.OpError():
            return GRPC_CODES[exc.error_code], "the model's own start-up failed: try it where it was exported"
    return grpc.StatusCode.INTERNAL, "cannot be loaded: try the export with `saved_model_cli show --all --dir`"
