"""A SavedModel as TensorFlow's own command shows it, without TensorFlow.

`describe` prints what `saved_model_cli show --all` prints (tensorflow/python/tools/saved_model_cli.py of TensorFlow
2.21), in half a second instead of seven. Three orders are accidents there: that of the set of operations and of the
keys of a dict change from run to run, that of a function's options hangs on a counter. Here the operations are a set,
too, the keys come sorted, and the options as they were saved.
"""

from collections import namedtuple
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from wsgiapp.tfserving import saved_model
from wsgiapp.tfserving.messages import MetaGraphDef, types_pb2
from wsgiapp.tfserving.tensors import dtype_name

# Where a type's name in Python is not the message's in lower case (tensorflow/python/framework/dtypes.py).
PYTHON_TYPES: Mapping[str, str] = {"half": "float16", "float": "float32", "double": "float64"}


def describe(directory: Path) -> str:
    """All graphs, signatures, operations and functions, as `saved_model_cli show --dir DIRECTORY --all` prints them.

    The last line carries no line end. Raises `ModelError`.
    """
    graphs = saved_model.read(directory).meta_graphs
    lines: list[str] = []
    for graph in sorted(graphs, key=lambda each: list(each.meta_info_def.tags)):
        lines += _describe_graph(graph)
    with_objects = [graph for graph in graphs if graph.HasField("object_graph_def")]
    if with_objects:
        lines += ["\nConcrete Functions:", *_describe_functions(with_objects[0])]
    return "\n".join(lines)


def _describe_graph(graph: MetaGraphDef) -> Iterator[str]:
    tags = graph.meta_info_def.tags
    yield f"\nMetaGraphDef with tag-set: '{', '.join(tags)}' contains the following SignatureDefs:"
    for key in sorted(graph.signature_def):
        yield f"\nsignature_def['{key}']:"
        signature = graph.signature_def[key]
        for kind, tensors in (("input", signature.inputs), ("output", signature.outputs)):
            yield f"  The given SavedModel SignatureDef contains the following {kind}(s):"
            for name in sorted(tensors):
                yield f"    {kind}s['{name}'] tensor_info:"
                yield from _describe_tensor(tensors[name])
        yield f"  Method name is: {signature.method_name}"
    yield f"The MetaGraph with tag set {list(tags)} contains the following ops: {_operations(graph.graph_def)}"


def _describe_tensor(tensor: Any) -> Iterator[str]:
    sizes = ", ".join(str(dim.size) for dim in tensor.tensor_shape.dim)
    yield f"        dtype: {types_pb2.DataType.Name(tensor.dtype)}"
    yield f"        shape: {'unknown_rank' if tensor.tensor_shape.unknown_rank else f'({sizes})'}"
    yield f"        name: {tensor.name}"


def _operations(graph: Any) -> set[str]:
    """The operations that a graph and the functions it calls use (meta_graph.ops_used_by_graph_def)."""
    functions = {function.signature.name: function for function in graph.library.function}
    used: set[str] = set()
    ahead = []

    def use(name: str) -> None:
        if name not in used and name in functions:
            ahead.append(functions[name])
        used.add(name)

    def use_all(nodes: Iterable[Any]) -> None:
        for node in nodes:
            use(node.op)
            if node.op in ("PartitionedCall", "StatefulPartitionedCall"):
                use(node.attr["f"].func.name)

    use_all(graph.node)
    while ahead:
        use_all(ahead.pop().node_def)
    return {name for name in used if name not in functions}


# --- functions of TensorFlow 2's objects ---


def _describe_functions(graph: MetaGraphDef) -> Iterator[str]:
    objects = graph.object_graph_def
    blank = ""  # only between functions
    for child in sorted(objects.nodes[0].children, key=lambda each: each.local_name):
        node = objects.nodes[child.node_id]
        kind = node.WhichOneof("kind")
        if kind == "function":
            names = list(node.function.concrete_functions)
        elif kind == "bare_concrete_function":
            names = [node.bare_concrete_function.concrete_function_name]
        else:
            continue
        yield f"{blank}  Function Name: '{child.local_name}'"
        blank = "\n"
        for number, name in enumerate(names, 1):
            arguments, named = _decode(objects.concrete_functions[name].canonicalized_input_signature)
            if arguments:
                yield f"    Option #{number}\n      Callable with:"
                for index, argument in enumerate(arguments, 1):
                    yield f"        Argument #{index}"
                    yield from _describe_argument(argument)
            for index, argument in enumerate(named, 1):
                yield f"        Named Argument #{index}\n          {argument}"


def _describe_argument(argument: Any) -> Iterator[str]:
    if isinstance(argument, str):
        yield f"          {argument}"
    elif isinstance(argument, _TensorSpec):
        yield f"          {argument.name}: {argument!r}"
    else:
        yield f"          DType: {type(argument).__name__}"
        if isinstance(argument, dict):
            items = "".join(f"'{key}': {_quoted(value)}, " for key, value in argument.items())
            yield f"          Value: {{{items}\b\b}}"
        elif isinstance(argument, list | tuple):
            yield f"          Value: [{''.join(f'{_quoted(value)}, ' for value in argument)}\b\b]"
        else:
            yield f"          Value: {argument}"


def _quoted(value: Any) -> str:
    return f"'{value}'" if isinstance(value, str) else str(value)


class _TensorSpec:
    """Stands for `tf.TensorSpec`, and prints as it does."""

    def __init__(self, value: Any) -> None:
        self.name = value.name or None
        self._shape, self._type = _Shape(value.shape), _Type(value.dtype)

    def __repr__(self) -> str:
        return f"TensorSpec(shape={self._shape}, dtype={self._type!r}, name={self.name!r})"


class _TypeSpec:
    """Stands for the other `tf.TypeSpec`s: its subclasses carry their names."""

    def __init__(self, state: Iterable[Any]) -> None:
        self._state = state

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self._state))})"


class _Shape:
    """Stands for `tf.TensorShape`."""

    def __init__(self, shape: Any) -> None:
        self._sizes = None if shape.unknown_rank else [None if dim.size < 0 else dim.size for dim in shape.dim]

    def __str__(self) -> str:
        return "<unknown>" if self._sizes is None else str(tuple(self._sizes))

    def __repr__(self) -> str:
        return f"TensorShape({self._sizes})"


class _Type:
    """Stands for `tf.DType`."""

    def __init__(self, enum: int) -> None:
        name = dtype_name(enum)
        base = name.removesuffix("_ref")
        self._name = PYTHON_TYPES.get(base, base) + name[len(base) :]

    def __str__(self) -> str:
        return f"<dtype: '{self._name}'>"

    def __repr__(self) -> str:
        return f"tf.{self._name}"


def _decode(value: Any) -> Any:
    """The Python object that a `StructuredValue` stands for (saved_model/nested_structure_coder.py)."""
    kind = value.WhichOneof("kind")
    return DECODERS[kind](getattr(value, kind))


def _decode_type_spec(spec: Any) -> _TypeSpec:
    return type(spec.type_spec_class_name, (_TypeSpec,), {})(_decode(spec.type_state))


def _decode_named_tuple(value: Any) -> Any:
    return namedtuple(value.name, [pair.key for pair in value.values])(*(_decode(pair.value) for pair in value.values))


def _same(value: Any) -> Any:
    return value


DECODERS: Mapping[str | None, Callable[[Any], Any]] = {
    "none_value": lambda _: None,
    "float64_value": _same,
    "int64_value": _same,
    "string_value": _same,
    "bool_value": _same,
    "tensor_shape_value": _Shape,
    "tensor_dtype_value": _Type,
    "tensor_spec_value": _TensorSpec,
    "bounded_tensor_spec_value": _TensorSpec,
    "type_spec_value": _decode_type_spec,
    "list_value": lambda value: [_decode(each) for each in value.values],
    "tuple_value": lambda value: tuple(_decode(each) for each in value.values),
    "dict_value": lambda value: {key: _decode(value.fields[key]) for key in sorted(value.fields)},
    "named_tuple_value": _decode_named_tuple,
}
