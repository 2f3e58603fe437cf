"""The parts of TensorFlow that serving needs, without the rest of it.

`import tensorflow` takes 4.8 s (measured), most of it for what builds and trains models; these modules take 1.8 s, and
so does the server's start, during which no call is answered. An empty module with TensorFlow's search path
stands in for the package, for good: what TensorFlow imports later must not bring the rest in. Where the real one has
been imported before, that one is used.
"""

import gc
import os
import sys
import warnings
from collections.abc import Callable
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow's notes about processors and missing GPUs

from wsgiapp.tfserving.messages import MetaGraphDef, tensorflow_stand_in
from wsgiapp.tfserving.saved_model import has_variables

if "tensorflow" not in sys.modules:
    sys.modules["tensorflow"] = tensorflow_stand_in()

from tensorflow.core.protobuf import config_pb2
from tensorflow.python.client.session import Session
from tensorflow.python.framework import errors, op_def_registry
from tensorflow.python.framework.load_library import load_library
from tensorflow.python.framework.ops import Graph
from tensorflow.python.framework.versions import VERSION
from tensorflow.python.lib.io.tf_record import tf_record_iterator
from tensorflow.python.platform import tf_logging
from tensorflow.python.saved_model import loader_impl

tf_logging.set_verbosity(tf_logging.ERROR)  # it finds the loader of TensorFlow 1 deprecated; TF Serving uses it too

# The package ai-edge-litert, to which the warning points, has the same class; TensorFlow 2.21 still ships it.
warnings.filterwarnings("ignore", message=r"\s*Warning: tf\.lite\.Interpreter is deprecated")
LITE_SIGNATURES = b"signature_defs_metadata"  # `tensorflow/lite/tools/signature/signature_def_util.h`

# What TensorFlow made while it was imported stays for good. Kept out of the collector, an unload collects its own
# graph alone (measured: 1 to 23 ms instead of 180, in which no call is answered).
gc.collect()
gc.freeze()


def unknown_operations(graph: MetaGraphDef) -> set[str]:
    """The operations that no library has registered, and that no function in the graph stands for."""
    library = graph.graph_def.library.function
    used = {node.op for nodes in (graph.graph_def.node, *(each.node_def for each in library)) for node in nodes}
    used -= {function.signature.name for function in library}
    return {operation for operation in used if op_def_registry.get(operation) is None}


def load_saved_model(
    session: Any, tags: list[str], path: str, prepare: Callable[[MetaGraphDef], None] = lambda graph: None
) -> Any:
    """The meta graph with the `tags`, loaded into a session after `prepare` saw it. Raises what TensorFlow raises.

    A graph without variables needs no checkpoint, as in TensorFlow's loader in C++, which TF Serving uses; the one in
    Python wants a checkpoint wherever the graph could read one.
    """
    loader = loader_impl.SavedModelLoader(path)
    meta_graph = loader.get_meta_graph_def_from_tags(tags)
    prepare(meta_graph)
    if os.path.exists(f"{loader.variables_path}.index") or has_variables(meta_graph):
        return loader.load(session, tags)
    loader.load_graph(session.graph, tags)
    loader.run_init_ops(session, tags)
    return meta_graph


def lite_interpreter(content: bytes, threads: int, *, delegates: bool = True) -> Any:
    """A TensorFlow Lite interpreter of a model file's bytes.

    Its `delegates`, XNNPACK above all, are faster than TensorFlow Lite's own operations and check less.
    """
    from tensorflow.lite.python.interpreter import Interpreter, OpResolverType

    own = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    resolver = OpResolverType.AUTO if delegates else own
    return Interpreter(model_content=content, num_threads=threads, experimental_op_resolver_type=resolver)


def lite_takes_any_size(content: bytes) -> bool:
    """Whether all tensors of a model have elements where each dimension that it leaves open is 1.

    Then larger inputs are safe, too. Otherwise XNNPACK may compute with less than nothing, and end the process.
    """
    interpreter = lite_interpreter(content, 1, delegates=False)
    try:
        for subgraph in range(interpreter.num_subgraphs()):
            interpreter._interpreter.AllocateTensors(subgraph)
            if not all((details["shape"] > 0).all() for details in interpreter.get_tensor_details(subgraph)):
                return False
    except (ValueError, RuntimeError):
        return False
    return True


def lite_allocate(runner: Any) -> None:
    """Allocate memory for what a signature runs, of which `Interpreter.allocate_tensors` does the first one alone."""
    runner._interpreter_wrapper.AllocateTensors(runner._subgraph_index)


def lite_stored_signatures(content: bytes) -> dict[str, bytes]:
    """The serialized signatures in the metadata of a model file, by their keys. Raises `ValueError`."""
    if LITE_SIGNATURES not in content:  # the module of the format takes half a second to import
        return {}
    from flatbuffers import flexbuffers
    from tensorflow.lite.python.schema_py_generated import Model

    try:
        model = Model.GetRootAs(content)
        listed = (model.Metadata(index) for index in range(model.MetadataLength()))
        buffers = [each.Buffer() for each in listed if each.Name() == LITE_SIGNATURES]
        if not buffers:
            return {}
        stored = flexbuffers.GetRoot(model.Buffers(buffers[0]).DataAsNumpy().tobytes()).AsMap
        return {key.AsKey: value.AsStringBytes for key, value in zip(stored.Keys, stored.Values, strict=True)}
    except Exception as exc:  # these modules check nothing
        raise ValueError(f"the signatures in its metadata cannot be read: {exc}") from exc


def profiler_session() -> Any:
    """A session of TensorFlow's profiler, which is loaded when it is used first."""
    from tensorflow.python.profiler.internal import _pywrap_profiler

    return _pywrap_profiler.ProfilerSession()


def has_events(trace: bytes) -> bool:
    """Whether anything was recorded in a serialized XSpace, the profiler's format."""
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    planes = xplane_pb2.XSpace.FromString(trace).planes
    return any(line.events for plane in planes for line in plane.lines)


__all__ = [
    "VERSION",
    "Graph",
    "Session",
    "config_pb2",
    "errors",
    "has_events",
    "lite_allocate",
    "lite_interpreter",
    "lite_stored_signatures",
    "lite_takes_any_size",
    "load_library",
    "load_saved_model",
    "profiler_session",
    "tf_record_iterator",
    "unknown_operations",
]
