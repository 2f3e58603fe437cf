"""Meta graphs of TensorFlow 1 as messages: names, collections, variables, and what a tensor needs.

Nothing here imports TensorFlow, so that what is wrong with a command line is said at once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from google.protobuf import text_format
from google.protobuf.message import DecodeError

from wsgiapp.tfserving.messages import CollectionDef, GraphDef, MetaGraphDef, SavedModel, VariableDef
from wsgiapp.tfserving.tensors import decode_tensor

COLLECTION = "collection:"
#: The collections of variables. A checkpoint holds those in the first and, of the last two, those not in the second.
GLOBAL, LOCAL, TRAINABLE, MODEL = "variables", "local_variables", "trainable_variables", "model_variables"
ASSETS = "asset_filepaths"
VARIABLES = {"Variable", "VariableV2", "VarHandleOp", "AutoReloadVariable"}
FILL_TABLE = ("InitializeTable", "LookupTableImport")
ASSIGN = {"Assign", "AssignVariableOp"}
PLACEHOLDERS = {"Placeholder", "PlaceholderV2"}


class CheckpointError(Exception):
    """A graph, a checkpoint or a place for them is not what is needed; the message is one line and says what to do."""


@dataclass(frozen=True)
class Signature:
    """The tensors by which a model is asked and answers: full names in the graph, by name in the signature.

    `constants` are the values of fixed tensors, as JSON, by tensor.
    """

    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    constants: Mapping[str, str]

    @property
    def cut(self) -> set[str]:
        """The tensors that nothing before them computes any more."""
        return {*self.inputs.values(), *self.constants}


@dataclass(frozen=True)
class Variable:
    """A variable of the graph.

    `saved_as` is its name in a checkpoint; `part` are the offsets and the shape of its share, where it is one of the
    partitions of the variable that goes by that name.
    """

    name: str
    saved_as: str
    definition: Any
    part: tuple[tuple[int, ...], tuple[int, ...]] | None
    is_local: bool


class MetaGraph:
    """A meta graph file, with its nodes and variables by name."""

    def __init__(self, file: Path) -> None:
        """Read a file in binary or text format. Raises `CheckpointError`."""
        self.file = file
        self.message = _read(file)
        self.nodes: dict[str, Any] = {node.name: node for node in self.message.graph_def.node}
        self._saver_names = self._names_of_the_saver()
        self.variables: dict[str, Variable] = {each.name: each for each in self._find_variables()}

    @property
    def version(self) -> str:
        """Of the TensorFlow that wrote it."""
        return self.message.meta_info_def.tensorflow_version or "?"

    def tensor(self, source: str, option: str) -> str:
        """The full name, as `conv1/Relu:0`, of a tensor that is named so, by its operation, or as `collection:NAME`.

        Raises `CheckpointError`, which begins with `option`, for a name that is not there, with those that are near,
        and for a collection that is not there or holds anything but one tensor.
        """
        if source.startswith(COLLECTION):
            source = self._only_entry(source.removeprefix(COLLECTION), option)
        operation, colon, index = source.partition(":")
        if operation not in self.nodes:
            raise CheckpointError(f"{option}: the graph has no tensor {source!r}{self._near(operation)}")
        if colon and not index.isdecimal():
            raise CheckpointError(f"{option}: {source!r} is no name of a tensor; {operation}:0 would be one")
        return f"{operation}:{int(index or 0)}"

    def unused_name(self, name: str) -> str:
        """The name, made longer until no node has it."""
        while name in self.nodes:
            name += "_"
        return name

    def saved_variables(self) -> list[Variable]:
        """Those that the graph's saver saves; where it has none, all that are not local."""
        by_saver = [each for each in self.variables.values() if each.name in self._saver_names]
        return by_saver or [each for each in self.variables.values() if not each.is_local]

    def random_operations(self, names: Iterable[str], cut: Collection[str]) -> list[str]:
        """The nodes, of those that tensors need, that draw at random."""
        return sorted(name for name in self.needed(names, cut) if "Random" in self.nodes[name].op)

    def needed(self, names: Iterable[str], cut: Collection[str] = ()) -> set[str]:
        """The nodes that tensors or operations need, up to the tensors in `cut`."""
        cut_nodes = {operation_of(tensor) for tensor in cut}
        found: set[str] = set()
        ahead = [operation_of(name) for name in names if name not in cut]
        while ahead:
            name = ahead.pop()
            if name in found:
                continue
            if name not in self.nodes:
                raise CheckpointError(
                    f"--meta {self.file}: lacks the node {name}, which is needed; write the file again"
                )
            found.add(name)
            for edge in self.nodes[name].input:
                if edge.startswith("^"):
                    ahead += [edge[1:]] if edge[1:] not in cut_nodes else []
                elif tensor_of(edge) not in cut:
                    ahead.append(operation_of(edge))
        return found

    def needed_to_run(self, names: Iterable[str], cut: Collection[str] = ()) -> set[str]:
        """As `needed`, with what initialises the variables and the tables among them."""
        found = self.needed(names, cut)
        while True:
            more = self.needed([*found, *self._initializers(found)], cut)
            if more == found:
                return found
            found = more

    def table_initializers(self, among: Collection[str]) -> list[str]:
        """The operations that fill the lookup tables among the nodes."""
        return [
            node.name
            for node in self.message.graph_def.node
            if node.op.startswith(FILL_TABLE) and node.input and operation_of(node.input[0]) in among
        ]

    def subset(self, names: Collection[str], replaced: Mapping[str, Any] | None = None) -> MetaGraphDef:
        """A meta graph of some nodes, which are on no device, and of the variables and assets among them.

        `replaced` has, by tensor, the node that stands in for it. Nothing of the training is left over: no saver, no
        queue runners, no summaries.
        """
        replaced = replaced or {}
        subset = MetaGraphDef(meta_info_def=self.message.meta_info_def)
        graph = self.message.graph_def
        subset.graph_def.versions.CopyFrom(graph.versions)
        subset.graph_def.library.CopyFrom(graph.library)
        subset.graph_def.node.extend(node for node in graph.node if node.name in names)
        for node in subset.graph_def.node:
            _detach(node, names, replaced)
        subset.graph_def.node.extend(replaced.values())
        for variable in self.variables.values():
            if variable.name in names:
                collection = subset.collection_def[LOCAL if variable.is_local else GLOBAL]
                collection.bytes_list.value.append(variable.definition.SerializeToString())
        assets = [name for name in self._entries(ASSETS) if operation_of(name) in names]
        if assets:
            subset.collection_def[ASSETS].node_list.value.extend(assets)
        return subset

    def _only_entry(self, collection: str, option: str) -> str:
        there = sorted(name for name, each in self.message.collection_def.items() if each.HasField("node_list"))
        if collection not in there:
            raise CheckpointError(
                f"{option}: no collection {collection!r} of tensors; there is {', '.join(there) or 'none'}"
            )
        entries = self._entries(collection)
        if len(entries) != 1:
            raise CheckpointError(
                f"{option}: the collection {collection!r} holds {len(entries)} tensors; name one: {shortened(entries)}"
            )
        return entries[0]

    def _entries(self, collection: str) -> list[str]:
        return list(self._collection(collection).node_list.value)

    def _collection(self, name: str) -> Any:
        collections = self.message.collection_def  # a look at a name that is not there would make it
        return collections[name] if name in collections else CollectionDef()

    def _near(self, operation: str) -> str:
        last = operation.rpartition("/")[2]
        near = [name for name in self.nodes if name.rpartition("/")[2] == last][:3]
        near += [name for name in get_close_matches(operation, self.nodes) if name not in near]
        return f"; did you mean {', '.join(near[:4])}?" if near else ""

    def _initializers(self, among: Collection[str]) -> Iterator[str]:
        for name in among:
            if name in self.variables:
                definition = self.variables[name].definition
                yield definition.initializer_name
                yield from filter(None, (definition.snapshot_name, definition.initial_value_name))
        yield from self.table_initializers(among)

    def _find_variables(self) -> Iterator[Variable]:
        seen = set()
        for collection in (GLOBAL, LOCAL, TRAINABLE, MODEL):
            for content in self._collection(collection).bytes_list.value:
                definition = VariableDef.FromString(content)
                name = operation_of(definition.variable_name)
                if name in seen:
                    continue
                seen.add(name)
                part = definition.save_slice_info_def
                whole = part.full_name if definition.HasField("save_slice_info_def") else ""
                sliced = (tuple(part.var_offset), tuple(part.var_shape)) if whole else None
                yield Variable(
                    name, self._saver_names.get(name) or whole or name, definition, sliced, collection == LOCAL
                )

    def _names_of_the_saver(self) -> dict[str, str]:
        """Each variable's name in the checkpoint, as the operations of the graph's saver have it.

        A saver may save variables under other names than their own: moving averages, most of all.
        """
        restore = self.message.saver_def.restore_op_name
        if operation_of(restore) not in self.nodes:
            return {}
        names = {}
        for name in self.needed([restore]):
            node = self.nodes[name]
            if node.op in ASSIGN and (key := self._key_restored_by(node.input[1])):
                names[operation_of(node.input[0])] = key
        return names

    def _key_restored_by(self, edge: str) -> str:
        node = self.nodes[operation_of(edge)]
        while node.op == "Identity":
            edge = node.input[0]
            node = self.nodes[operation_of(edge)]
        if node.op not in ("RestoreV2", "Restore", "RestoreSlice"):
            return ""
        keys = self.nodes[operation_of(node.input[1])]
        if keys.op != "Const":
            return ""
        key: bytes = decode_tensor(keys.attr["value"].tensor).ravel()[int(tensor_of(edge).rpartition(":")[2])]
        return key.decode()


def shortened(names: Sequence[str], most: int = 8) -> str:
    """The names in a line, the first few of many."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def operation_of(name: str) -> str:
    """The operation's name in that of a tensor, or of an edge of a node."""
    return name.removeprefix("^").partition(":")[0]


def tensor_of(edge: str) -> str:
    """The full name of a tensor; `conv1` is short for `conv1:0`."""
    return edge if ":" in edge else f"{edge}:0"


def _read(file: Path) -> MetaGraphDef:
    try:
        content = file.read_bytes()
    except OSError as exc:
        raise CheckpointError(
            f"--meta {file}: {exc.strerror}; name the .meta file that lies beside a checkpoint"
        ) from exc
    for parse in (_parse_binary, _parse_text):
        message = parse(MetaGraphDef(), content)
        if message is not None and message.graph_def.node:
            return message
    for kind, other in (("a SavedModel already: it can be served as it is", SavedModel()), (FROZEN, GraphDef())):
        found = _parse_binary(other, content) or _parse_text(other, content)
        if found is not None and (getattr(found, "node", None) or getattr(found, "meta_graphs", None)):
            raise CheckpointError(f"--meta {file}: no meta graph, but {kind}")
    raise CheckpointError(
        f"--meta {file}: no meta graph, or one that is cut off; name the .meta file beside a checkpoint"
    )


FROZEN = (
    "a bare graph (GraphDef), whose weights, if it is frozen, are constants in it: "
    "name the .meta file that was written with the checkpoint"
)


def _parse_binary(message: Any, content: bytes) -> Any:
    try:
        message.ParseFromString(content)
    except DecodeError:
        return None
    return message


def _parse_text(message: Any, content: bytes) -> Any:
    try:
        return text_format.Parse(content, message)
    except (text_format.ParseError, UnicodeDecodeError):
        return None


def _detach(node: Any, names: Collection[str], replaced: Mapping[str, Any]) -> None:
    """Take a node off its device, and away from nodes that are not there."""
    node.device = ""
    edges = []
    for edge in node.input:
        if edge.startswith("^"):
            edges += [edge] if edge[1:] in names else []
        else:
            stand_in = replaced.get(tensor_of(edge))
            edges.append(stand_in.name if stand_in is not None else edge)
    del node.input[:]
    node.input.extend(edges)
    if "_class" in node.attr:  # which nodes it shares a device with, as b"loc:@name"
        kept = [each for each in node.attr["_class"].list.s if each.decode().removeprefix("loc:@") in names]
        del node.attr["_class"]
        if kept:
            node.attr["_class"].list.s.extend(kept)
