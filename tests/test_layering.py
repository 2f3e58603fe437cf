"""Each module imports only what stands below it, and the gateway never imports TensorFlow."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "wsgiapp"

LEVELS = {
    "errors": 0,
    "logs": 0,
    "protos": 0,
    "metrics": 0,
    "split": 0,
    "settings": 0.5,  # raises errors
    "batching": 1,
    "capacity": 1,
    "codec": 1,
    "engine": 1,
    "http2": 1,
    "modelconfig": 1,
    "pipelines": 1,
    "render": 1,
    "requesthead": 1,
    "rows": 1,
    "savedmodel": 1,
    "channel": 1.5,  # knows http2
    "container": 1.5,  # knows a model's configuration
    "restjson": 1.5,  # knows the tensors of codec
    "stubs": 1,
    "threads": 1,
    "storage": 1.5,  # knows a model's configuration
    "wire": 1.5,  # knows the tensors of codec
    "backend": 2,
    "modelcheck": 2,
    "modeledit": 2,
    "stack": 2,
    "agreement": 2.5,  # calls the backend
    "passthrough": 2.5,  # calls the backend
    "sharedcalls": 2.7,  # knows agreement
    "controlplane": 3,
    "dataplane": 3,
    "http": 4,
    "middleware": 5,
    "views": 5,
    "app": 6,
    "handler": 6,
    "capacitycommand": 7,
    "modelcommands": 7,
    "server": 7,
    "cli": 8,
    "worker": 8,
}
SIDE = "modelserver"


def unit_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_modules(path: Path) -> Iterator[str]:
    """Every module that is imported anywhere in a file, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def own_units(path: Path) -> set[str]:
    """The units of this package that a file imports; `from wsgiapp import __version__` is none."""
    names = {name.split(".")[1] for name in imported_modules(path) if name.startswith("wsgiapp.")}
    return {name for name in names if not name.startswith("__")}


FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def test_every_module_has_a_level() -> None:
    assert {unit_of(path) for path in FILES} == {*LEVELS, SIDE}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_downward(path: Path) -> None:
    unit = unit_of(path)
    for other in own_units(path) - {unit}:
        if unit == SIDE:
            assert LEVELS[other] < 2, f"the model server imports {other}"
        else:
            assert other != SIDE, f"{unit} imports the model server"
            assert LEVELS[other] < LEVELS[unit], f"{unit} imports {other}, which does not stand below it"


def test_tensorflow_is_imported_in_one_place_and_gevent_never_beside_it() -> None:
    with_tensorflow = set()
    for path in FILES:
        roots = {name.split(".")[0] for name in imported_modules(path)}
        if "tensorflow" in roots:
            with_tensorflow.add(str(path.relative_to(PACKAGE)))
        if unit_of(path) == SIDE:
            assert "gevent" not in roots, path
    assert with_tensorflow == {"protos.py", "modelserver/runtime.py"}


def test_importing_the_package_loads_and_patches_nothing() -> None:
    code = "import sys; before = set(sys.modules); import wsgiapp; print(sorted(set(sys.modules) - before))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "['wsgiapp']"


def test_the_gateway_runs_without_tensorflow_and_without_grpcio() -> None:
    code = (
        "import sys, wsgiapp.server, wsgiapp.pipelines.segmented_text, wsgiapp.pipelines.saliency;"
        "print('tensorflow' in sys.modules, 'tensorflow.python' in sys.modules, 'grpc' in sys.modules)"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.split() == ["False", "False", "False"]
