"""A version directory -> a servable that is ready to answer."""

from dataclasses import dataclass, field
from pathlib import Path

from wsgiapp.modelserver.lifecycle.model_roots import ANYWHERE, ModelRoots
from wsgiapp.modelserver.lifecycle.warmup import warm_up
from wsgiapp.modelserver.servables.batching import BatchedServable, BatchScheduler
from wsgiapp.modelserver.servables.saved_model import SavedModelServable
from wsgiapp.modelserver.servables.servable import InferenceOptions, Servable
from wsgiapp.modelserver.servables.tflite import TfliteServable
from wsgiapp.tfserving.saved_model import SERVE_TAG
from wsgiapp.tfserving.version_dirs import TFLITE_FILE


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """How versions are loaded, the same for all of them.

    `tags` choose the meta graph of a SavedModel. Each recorded request of the warm-up is answered `warmup_iterations`
    times. `intra_op_threads` are TensorFlow's (0: the cores), and so are `inter_op_threads` (0: by the length of the
    calls, see `session_call`). `prefer_tflite` takes a version's `model.tflite`, where it has one, instead of its
    SavedModel. With a `scheduler`, requests share runs. Files are read below the `roots` alone. `inference` is how the
    recorded requests are answered.
    """

    tags: tuple[str, ...] = (SERVE_TAG,)
    warmup_iterations: int = 1
    intra_op_threads: int = 0
    inter_op_threads: int = 0
    prefer_tflite: bool = False
    scheduler: BatchScheduler | None = None
    roots: ModelRoots = ANYWHERE
    inference: InferenceOptions = field(default_factory=InferenceOptions)


def load(path: Path, options: LoadOptions) -> Servable:
    """The version in the directory `path`, warmed up. Raises `ServingError` in one line that names the directory."""
    options.roots.check_files(path)
    servable = _open(path, options)
    try:
        warm_up(servable, path, options.inference, iterations=options.warmup_iterations)
    except BaseException:
        servable.close()
        raise
    return servable


def _open(path: Path, options: LoadOptions) -> Servable:
    servable: Servable
    if options.prefer_tflite and (path / TFLITE_FILE).exists():
        servable = TfliteServable(path / TFLITE_FILE, threads=options.intra_op_threads)
    else:
        servable = SavedModelServable(
            path,
            options.tags,
            intra_op_threads=options.intra_op_threads,
            inter_op_threads=options.inter_op_threads,
        )
    return BatchedServable(servable, options.scheduler) if options.scheduler else servable
