"""The part of a meta graph that a signature needs, with a checkpoint's weights in it, and the way to a SavedModel.

This imports TensorFlow; `export` does so only when it has rejected what can be rejected without.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.framework import meta_graph as importer  # the public one adds a saver, which would be exported

from checkpoints.meta_graph import CheckpointError, MetaGraph, Signature, Variable, operation_of, shortened
from wsgiapp.tfserving.tensors import NUMPY_TYPES, encode_tensor

tf.get_logger().setLevel("ERROR")  # it finds most of TensorFlow 1 deprecated

OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
ASSETS = tf.compat.v1.GraphKeys.ASSET_FILEPATHS
#: Sizes to try for dimensions that a model leaves open; a convolution without padding needs more than a few pixels.
OPEN_SIZES = (2, 1, 32, 256)
MAX_NUMBERS = 2**26
RELATIVE, ABSOLUTE = 1e-4, 1e-5  # how far apart two runs of one graph may be: threads add up in any order
NAMES_OF_METHODS = {
    "predict": "needs an input and an output",
    "classify": "needs the input 'inputs', a string, and as outputs 'classes', strings, 'scores', floats, or both",
    "regress": "needs the input 'inputs', a string, and the output 'outputs', floats",
}


@contextmanager
def new_session() -> Iterator[tf.compat.v1.Session]:
    """A session in a new graph, which is the default one. It leaves other processes their share of a GPU."""
    config = tf.compat.v1.ConfigProto(allow_soft_placement=True)
    config.gpu_options.allow_growth = True
    with tf.Graph().as_default() as graph, tf.compat.v1.Session(graph=graph, config=config) as session:
        yield session


@contextmanager
def explained(what: str, then: str = "") -> Iterator[None]:
    """Turn what TensorFlow raises into a `CheckpointError` of one line: what it is about, the problem, what to do."""
    try:
        yield
    except CheckpointError:
        raise
    except Exception as exc:  # TensorFlow raises its own errors and, for the same reasons, most of Python's
        raise CheckpointError(f"{what}: {_problem(exc)}{then}") from exc


def _problem(exc: Exception) -> str:
    """The line of a message that says what happened; TensorFlow wraps it in where the node was made."""
    lines = [line.strip() for line in str(getattr(exc, "message", exc)).splitlines() if line.strip()]
    if lines and lines[0].startswith("Graph execution error"):
        nodes = [number for number, line in enumerate(lines) if line.startswith("Node: ")]
        lines = [line for line in lines[nodes[-1] + 1 if nodes else 0 :] if "root error(s) found" not in line]
    return lines[0].removeprefix("(0) ").rstrip(".") if lines else type(exc).__name__


def import_graph(message: Any, option: str) -> None:
    """Add a meta graph to the default graph."""
    with explained(f"{option}: TensorFlow {tf.__version__} cannot import what is needed of it"):
        importer.import_scoped_meta_graph(message)


class Checkpoint:
    """The weights in a checkpoint of names, of either format that TensorFlow 1 wrote."""

    def __init__(self, prefix: str) -> None:
        """Read its index. Raises `CheckpointError`."""
        self._option = f"--checkpoint {prefix}"
        if prefix.endswith(".index"):  # would be read as a checkpoint of the older format, with no tensors in it
            raise CheckpointError(f"{self._option}: a part of a checkpoint{_beside(prefix)}")
        with explained(self._option, _beside(prefix)):
            self._reader = tf.compat.v1.train.NewCheckpointReader(prefix)
            self._shapes: dict[str, list[int]] = self._reader.get_variable_to_shape_map()
        if OBJECT_GRAPH in self._shapes:
            raise CheckpointError(
                f"{self._option}: an object-based checkpoint of TensorFlow 2, which only the Python code of its model "
                "restores; export it there, with tf.saved_model.save or Keras' model.export"
            )

    def restore(
        self, session: tf.compat.v1.Session, variables: Mapping[str, tuple[Variable, Any]], needed: Collection[str]
    ) -> list[str]:
        """Give the variables their values. The names of those that the checkpoint lacks.

        Those, and only those, are initialised; after the others, because some start as copies. Raises
        `CheckpointError` where it lacks one that is `needed`, and for a value that cannot be read or does not fit.
        """
        missing = sorted(name for name, (each, _) in variables.items() if each.saved_as not in self._shapes)
        rejected = [name for name in missing if name in needed]
        if rejected:
            raise CheckpointError(
                f"{self._option}: lacks {len(rejected)} of the {len(needed)} variables that the outputs need: "
                f"{shortened(rejected)}; name the checkpoint of this graph, or initialise them with --allow-missing"
            )
        for name, (each, variable) in variables.items():
            if name not in missing:
                initializer = variable.initializer
                session.run(initializer, {initializer.inputs[1]: self._value(each, variable)})
        with explained(f"{self._option}: cannot initialise the variables that it lacks"):
            session.run([variables[name][1].initializer for name in missing])
        return missing

    def _value(self, each: Variable, variable: Any) -> np.ndarray:
        what = f"{self._option}: {each.saved_as}"
        with explained(f"{what} cannot be read", "; the file is cut off or damaged: copy the checkpoint again"):
            value: np.ndarray = self._reader.get_tensor(each.saved_as)
        if each.part:
            offsets, shape = each.part
            value = value[tuple(slice(start, start + size) for start, size in zip(offsets, shape, strict=True))]
        wanted = variable.dtype.base_dtype
        if wanted != value.dtype or not variable.shape.is_compatible_with(value.shape):
            raise CheckpointError(
                f"{what} is {value.dtype} of shape {value.shape}, but the graph wants {wanted.name} of shape "
                f"{variable.shape}; name the checkpoint of this graph"
            )
        return value


class RestoredGraph:
    """What a signature needs of a meta graph, in a session. `restore` comes before all else."""

    def __init__(self, session: tf.compat.v1.Session, meta: MetaGraph, signature: Signature, option: str) -> None:
        """Import it into the session's graph; `option` is what errors of the meta graph begin with."""
        self._session, self._option = session, option
        stand_ins = _stand_ins(meta, signature, option)
        kept = meta.needed_to_run(signature.outputs.values(), signature.cut)
        kept |= {operation_of(tensor) for tensor in signature.inputs.values() if tensor not in stand_ins}
        subset = meta.subset(kept, stand_ins)
        import_graph(subset, option)
        self.nodes = len(subset.graph_def.node)
        self._inputs = _tensors(session.graph, "--input", signature.inputs, stand_ins)
        self._outputs = _tensors(session.graph, "--output", signature.outputs, stand_ins)
        variables = {variable.op.name: variable for variable in tf.compat.v1.global_variables()}
        self.variables = {name: (meta.variables[name], variable) for name, variable in variables.items()}
        # The others are here because a variable starts as a copy of them.
        self._needed = meta.needed(signature.outputs.values(), signature.cut) & set(self.variables)
        self._initial = _initial_operation(meta.table_initializers(kept))

    def restore(self, checkpoint: Checkpoint, *, allow_missing: bool) -> list[str]:
        """Give the variables the checkpoint's values, and do what a server does next; as `Checkpoint.restore`."""
        missing = checkpoint.restore(self._session, self.variables, () if allow_missing else self._needed)
        for path in self._session.run(tf.compat.v1.get_collection(ASSETS)):
            if not os.path.isfile(path):
                raise CheckpointError(f"{self._option}: needs the file {path.decode()}, which is missing; put it there")
        if self._initial is not None:
            with explained(f"{self._option}: cannot initialise its lookup tables or local variables"):
                self._session.run(self._initial)
        return missing

    def predict(self, samples: Mapping[str, Any]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Inputs that the model takes, and what it answers. They are random where there is no sample."""
        for size in OPEN_SIZES[:-1]:
            with suppress(tf.errors.OpError, ValueError):
                return self._predict(samples, size)
        then = "; give an input that the model takes with --sample NAME=FILE"
        with explained("--input: the model rejects the sample input", then):
            return self._predict(samples, OPEN_SIZES[-1])

    def _predict(self, samples: Mapping[str, Any], size: int) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        inputs = {name: _input(tensor, samples.get(name), size) for name, tensor in self._inputs.items()}
        return inputs, self._session.run(self._outputs, {self._inputs[name]: inputs[name] for name in inputs})

    def save(self, directory: Path, tags: Sequence[str], key: str, method: str) -> None:
        """Write a SavedModel into an empty directory. Raises `CheckpointError` for an invalid signature."""
        of = tf.compat.v1.saved_model.build_tensor_info
        signature = tf.compat.v1.saved_model.build_signature_def(
            {name: of(tensor) for name, tensor in self._inputs.items()},
            {name: of(tensor) for name, tensor in self._outputs.items()},
            f"tensorflow/serving/{method}",
        )
        if not tf.compat.v1.saved_model.is_valid_signature(signature):
            raise CheckpointError(f"--method {method}: {NAMES_OF_METHODS[method]}")
        builder = tf.compat.v1.saved_model.Builder(str(directory))
        builder.add_meta_graph_and_variables(
            self._session,
            list(tags),
            {key: signature},
            assets_collection=tf.compat.v1.get_collection(ASSETS),
            main_op=self._initial,
            strip_default_attrs=True,
        )
        builder.save()


def save_initial_values(meta: MetaGraph, variables: Sequence[Variable], prefix: Path, seed: int) -> int:
    """Initialise variables and write them as a checkpoint: of how many numbers."""
    subset = meta.subset(meta.needed_to_run(each.name for each in variables))
    for node in subset.graph_def.node:
        if "seed2" in node.attr and not (node.attr["seed"].i or node.attr["seed2"].i):  # draws anew each time
            seed += 1
            node.attr["seed2"].i = seed
    with new_session() as session:
        import_graph(subset, f"--meta {meta.file}")
        imported = {variable.op.name: variable for variable in tf.compat.v1.global_variables()}
        with explained(f"--meta {meta.file}: cannot initialise its variables"):
            session.run(tf.compat.v1.global_variables_initializer())
        to_save: dict[str, Any] = {}
        for each in variables:
            if each.part:
                to_save.setdefault(each.saved_as, []).append(imported[each.name])
            else:
                to_save[each.saved_as] = imported[each.name]
        with explained(f"--checkpoint {prefix}: cannot be written"):
            saver = tf.compat.v1.train.Saver(to_save)
            saver.save(session, str(prefix), write_meta_graph=False, write_state=False)
        return sum(imported[each.name].shape.num_elements() for each in variables)


def load_and_predict(
    directory: Path, tags: Sequence[str], key: str, inputs: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    """What a SavedModel answers, loaded into a graph of its own as TensorFlow Serving does it."""
    with new_session() as session:
        loaded = tf.compat.v1.saved_model.load(session, list(tags), str(directory))
        signature = loaded.signature_def[key]
        outputs = {name: tensor.name for name, tensor in signature.outputs.items()}
        answer: dict[str, Any] = session.run(outputs, {signature.inputs[name].name: inputs[name] for name in inputs})
        return answer


def differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """The names under which two answers are not the same, but for rounding."""
    return [name for name in one if not _alike(np.asarray(one[name]), np.asarray(other[name]))]


def _alike(one: np.ndarray, other: np.ndarray) -> bool:
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    if one.dtype.kind not in "fc":
        return bool((one == other).all())
    largest = np.abs(one[np.isfinite(one)]).max(initial=1.0)
    return bool(np.allclose(one, other, RELATIVE, ABSOLUTE * largest, equal_nan=True))


def _stand_ins(meta: MetaGraph, signature: Signature, option: str) -> dict[str, Any]:
    """Nodes by the tensors whose places they take: constants, and placeholders for inputs that are none yet."""
    described = {tensor: f"--input {name}={tensor}" for name, tensor in signature.inputs.items()}
    described |= {tensor: f"--constant {tensor}={value}" for tensor, value in signature.constants.items()}
    stand_ins = {}
    with tf.Graph().as_default() as graph:
        import_graph(meta.subset(meta.needed_to_run(described)), option)
        for tensor, about in described.items():
            with explained(about):
                found = graph.get_tensor_by_name(tensor)
            if found.dtype in (tf.resource, tf.variant):
                raise CheckpointError(f"{about}: a {found.dtype.name} is no value; name a tensor of numbers or strings")
            node = tf.compat.v1.NodeDef(name=meta.unused_name(tensor.replace(":", "_")))
            node.attr["dtype"].type = found.dtype.base_dtype.as_datatype_enum
            if tensor in signature.constants:
                node.op = "Const"
                value = _constant(about, signature.constants[tensor], found)
                node.attr["value"].tensor.CopyFrom(encode_tensor(value))
            elif found.op.type.startswith("Placeholder"):
                continue
            else:
                node.op = "Placeholder"
                node.attr["shape"].shape.CopyFrom(found.shape.as_proto())
            stand_ins[tensor] = node
    return stand_ins


def _constant(about: str, text: str, tensor: Any) -> np.ndarray:
    dtype = NUMPY_TYPES.get(tensor.dtype.base_dtype.as_datatype_enum)
    if dtype is not None and dtype.hasobject:
        value = np.array(text.encode(), object)
    else:
        try:
            value = np.array(json.loads(text.lower()))
            if dtype is None or not np.can_cast(value.dtype.type, dtype, "same_kind"):
                raise ValueError(f"{value.dtype} is no {tensor.dtype.base_dtype.name}")
            value = np.array(value.tolist(), dtype)  # of Python's numbers, since numpy wraps its own around
        except (ValueError, OverflowError) as exc:
            raise CheckpointError(
                f"{about}: no {tensor.dtype.base_dtype.name} in JSON; as true, 0.5 or [1, 2]"
            ) from exc
    if not tensor.shape.is_compatible_with(value.shape):
        raise CheckpointError(f"{about}: of shape {value.shape}; the tensor is of shape {tensor.shape}")
    return value


def _tensors(graph: tf.Graph, option: str, names: Mapping[str, str], stand_ins: Mapping[str, Any]) -> dict[str, Any]:
    tensors = {}
    for key, name in names.items():
        with explained(f"{option} {key}={name}"):
            tensors[key] = graph.get_tensor_by_name(f"{stand_ins[name].name}:0" if name in stand_ins else name)
    return tensors


def _initial_operation(tables: Sequence[str]) -> Any:
    """What a server runs when it has restored the variables: nothing that would initialise those again."""
    graph = tf.compat.v1.get_default_graph()
    operations = [graph.get_operation_by_name(name) for name in tables]
    operations += [variable.initializer for variable in tf.compat.v1.local_variables()]
    return tf.group(*operations, name="initialize_tables_and_local_variables") if operations else None


def _input(tensor: Any, sample: Any, size: int) -> np.ndarray:
    """A value for a tensor, with `size` for the dimensions that it leaves open; a scalar where it leaves all open.

    The first of them, which is the batch, is 2 at most. Raises `ValueError` for a sample that does not fit.
    """
    dtype = tensor.dtype.base_dtype
    sizes = tensor.shape.as_list() if tensor.shape.rank is not None else []
    if isinstance(sample, np.ndarray):
        return sample.astype(object if dtype == tf.string else dtype.as_numpy_dtype)
    if isinstance(sample, bytes):
        return np.full([each or 1 for each in sizes], sample, object)
    shape = [each if each is not None else size if axis else min(size, 2) for axis, each in enumerate(sizes)]
    if math.prod(shape) > MAX_NUMBERS:
        raise ValueError(f"random numbers of shape {shape} would fill the memory")
    if dtype == tf.string:
        return np.full(shape, b"sample", object)
    rng = np.random.default_rng(0)
    if dtype.is_floating or dtype.is_complex:
        return rng.normal(size=shape).astype(dtype.as_numpy_dtype)
    return rng.integers(0, 2, shape).astype(dtype.as_numpy_dtype)  # also an index into the smallest table


def _beside(prefix: str) -> str:
    """What to do about a prefix without a checkpoint."""
    path = Path(prefix)
    if path.with_name(f"{path.name}.index").exists():
        return "; the file is cut off or damaged: copy the checkpoint again"
    folder = path if path.is_dir() else path.parent
    found = sorted(each.name.removesuffix(".index") for each in folder.glob("*.index"))
    if not found:
        return f"; there is no .index file of a checkpoint in {folder}"
    near = [each for each in found if path.name.startswith(f"{each}.")] or get_close_matches(path.name, found) or found
    return f"; the prefix is a path without .index, as {folder / near[0]}"
