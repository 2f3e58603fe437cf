"""A SavedModel's file, read without TensorFlow: its graphs and their signatures."""

from pathlib import Path

from google.protobuf import text_format
from google.protobuf.message import DecodeError

from wsgiapp.errors import ModelError
from wsgiapp.tfserving.messages import MetaGraphDef, SavedModel, SignatureDef
from wsgiapp.tfserving.version_dirs import BINARY_FILE, CHUNKED_FILE, SAVED_MODEL_FILES, TEXT_FILE

# tensorflow/cc/saved_model/tag_constants.h and signature_constants.h
SERVE_TAG = "serve"
DEFAULT_SIGNATURE = "serving_default"
VARIABLES_INDEX = "variables.index"  # of the checkpoint in the folder variables/
# The checkpoint has their values.
VARIABLE_OPERATIONS = frozenset({"AutoReloadVariable", "VarHandleOp", "Variable", "VariableV2"})


def read(directory: Path) -> SavedModel:
    """The message in `saved_model.pb` or `saved_model.pbtxt`.

    Raises `ModelError` where there is no such file, or it cannot be read, parsed, or has no graph. That of
    `saved_model.cpb` is in chunks that only TensorFlow's C++ puts together.
    """
    model = SavedModel()
    for name, parse in ((BINARY_FILE, model.ParseFromString), (TEXT_FILE, lambda text: text_format.Merge(text, model))):
        file = directory / name
        try:
            parse(file.read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as exc:
            raise ModelError(f"{file}: {exc.strerror}") from exc
        except (DecodeError, text_format.ParseError, UnicodeDecodeError) as exc:
            raise ModelError(f"{file}: truncated, or not a SavedModel; copy or export the version again") from exc
        if not model.meta_graphs:
            raise ModelError(f"{file}: holds no graph; it is cut off or empty: copy or export the version again")
        return model
    if (directory / CHUNKED_FILE).exists():
        raise ModelError(
            f"{directory / CHUNKED_FILE}: a SavedModel in chunks, which only TensorFlow's C++ loader reads"
        )
    raise ModelError(f"{directory}: {_what_is_there(directory)}")


def graph_of(directory: Path, tag: str = SERVE_TAG) -> MetaGraphDef:
    """The graph with that one tag. Raises `ModelError`, also where no graph has the tag."""
    graphs = read(directory).meta_graphs
    for graph in graphs:
        if list(graph.meta_info_def.tags) == [tag]:
            return graph
    found = " and ".join(repr(", ".join(graph.meta_info_def.tags)) for graph in graphs)
    raise ModelError(f"{directory}: no graph has the tag {tag!r} alone; there is {found}")


def signatures(directory: Path, tag: str = SERVE_TAG) -> dict[str, SignatureDef]:
    """The signatures of that graph, by key. Raises `ModelError` as `graph_of` does."""
    return dict(graph_of(directory, tag).signature_def)


def has_variables(graph: MetaGraphDef) -> bool:
    """Whether a graph needs the files of `variables/`."""
    functions = (function.node_def for function in graph.graph_def.library.function)
    return any(node.op in VARIABLE_OPERATIONS for nodes in (graph.graph_def.node, *functions) for node in nodes)


def _what_is_there(directory: Path) -> str:
    if not directory.is_dir():
        return "not a directory"
    versions = sorted(
        each.name for each in directory.iterdir() if any((each / name).exists() for name in SAVED_MODEL_FILES)
    )
    if versions:
        return f"no {BINARY_FILE}, but a model's versions: name one of them, as {directory / versions[-1]}"
    return f"no {BINARY_FILE} in it; name a version directory of a SavedModel"
