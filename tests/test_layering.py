"""Each package imports only what stands above it in the house, and the gateway never imports TensorFlow."""

import ast
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "wsgiapp"

# From the foundations up: each knows those before it, and nothing else. A tuple is of places side by side.
HOUSE: Sequence[str] = (
    "errors",
    "settings",
    "observability",
    "tfserving",
    "pipelines",
    "backend",
    "inference",
    "management",
    "access",
    "web",
    "server",
    "app",
    "worker",
    "deployment",
    "cli",
)
# The model server stands beside the gateway, on the same foundations.
MODEL_SERVER = "modelserver"
FOUNDATIONS = {"errors", "settings", "observability", "tfserving"}
# The same inside the packages that have floors of their own.
FLOORS: dict[str, Sequence[str]] = {
    "settings": (
        "constraints",
        "declaration",
        "tables",
        "schema",
        "templates",
        "conversion",
        "loading",
        "started",
        "exposed",
        "reference",
    ),
    "pipelines": (
        "memory_budget",
        "pipeline",
        "base64text",
        "list_literal",
        "segmentation",
        "imaging",
        "segmented_text",
        "saliency",
        "registry",
    ),
    MODEL_SERVER: (
        "errors",
        "flags",
        "signals",
        "text_configs",
        "servables",
        "inference",
        "lifecycle",
        "rpc",
        "rest_worker",
        "server",
        "__main__",
    ),
}


def place_of(path: Path, folder: Path = PACKAGE) -> str:
    """The package or module just below `folder` that a file belongs to."""
    return path.relative_to(folder).parts[0].removesuffix(".py")


def imported_modules(path: Path) -> Iterator[str]:
    """Every module that is imported anywhere in a file, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imported_places(path: Path, package: str = "wsgiapp") -> set[str]:
    """What a file imports, by the name just below `package`; `from wsgiapp import __version__` is none."""
    names = {name.removeprefix(f"{package}.") for name in imported_modules(path) if name.startswith(f"{package}.")}
    return {name.split(".")[0] for name in names if not name.startswith("__version__")}


def rejected_imports(path: Path, package: str, floors: Sequence[str]) -> list[str]:
    """The imports of a file that do not point downward."""
    folder = PACKAGE.parent / package.replace(".", "/")
    place = place_of(path, folder)
    allowed = set(floors[: floors.index(place) + 1])
    return sorted(imported_places(path, package) - allowed)


FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")
GATEWAY_FILES = [path for path in FILES if place_of(path) != MODEL_SERVER]
FLOOR_FILES = [
    (package, path)
    for package in FLOORS
    for path in sorted((PACKAGE / package).rglob("*.py"))
    if path.name != "__init__.py" or path.parent != PACKAGE / package
]


def test_every_package_has_its_place() -> None:
    assert {place_of(path) for path in FILES} == {*HOUSE, MODEL_SERVER}
    for package, floors in FLOORS.items():
        files = (PACKAGE / package).rglob("*.py")
        assert {place_of(path, PACKAGE / package) for path in files} - {"__init__"} == set(floors)


@pytest.mark.parametrize("path", GATEWAY_FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_downward(path: Path) -> None:
    assert rejected_imports(path, "wsgiapp", HOUSE) == []


@pytest.mark.parametrize(
    ("package", "path"), FLOOR_FILES, ids=[str(path.relative_to(PACKAGE)) for _, path in FLOOR_FILES]
)
def test_imports_point_downward_inside(package: str, path: Path) -> None:
    assert rejected_imports(path, f"wsgiapp.{package}", FLOORS[package]) == []


@pytest.mark.parametrize(
    "path", [path for path in FILES if place_of(path) == MODEL_SERVER], ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_the_model_server_knows_only_the_foundations(path: Path) -> None:
    assert imported_places(path) - {MODEL_SERVER} <= FOUNDATIONS


def test_packages_say_what_is_in_them_and_nothing_else() -> None:
    for path in PACKAGE.rglob("__init__.py"):
        lines = path.read_text(encoding="utf-8").splitlines()
        if path.parent == PACKAGE:  # it has the version besides
            assert lines[-1].startswith("__version__")
            continue
        assert len(lines) <= 5 and ast.get_docstring(ast.parse("\n".join(lines))), path
        assert len(ast.parse("\n".join(lines)).body) == 1, path


def test_tensorflow_is_imported_in_two_places_and_gevent_never_beside_it() -> None:
    with_tensorflow = set()
    for path in FILES:
        roots = {name.split(".")[0] for name in imported_modules(path)}
        if "tensorflow" in roots:
            with_tensorflow.add(str(path.relative_to(PACKAGE)))
        if place_of(path) == MODEL_SERVER:
            assert "gevent" not in roots, path
    assert with_tensorflow == {"tfserving/messages.py", "modelserver/servables/runtime.py"}


def test_importing_the_package_loads_and_patches_nothing() -> None:
    code = "import sys; before = set(sys.modules); import wsgiapp; print(sorted(set(sys.modules) - before))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "['wsgiapp']"


def test_what_gunicorn_s_master_loads_before_its_forks_has_no_counters() -> None:
    """Each worker's are in a file by its place, which prometheus_client asks for when it is imported."""
    code = "import sys, wsgiapp.deployment.nginx, wsgiapp.settings.started; print('prometheus_client' in sys.modules)"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.split() == ["False"]


def test_the_gateway_runs_without_tensorflow_and_without_grpcio() -> None:
    code = (
        "import sys, wsgiapp.app, wsgiapp.server.serving;"
        "import wsgiapp.pipelines.segmented_text, wsgiapp.pipelines.saliency;"
        "print('tensorflow' in sys.modules, 'tensorflow.python' in sys.modules, 'grpc' in sys.modules)"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.split() == ["False", "False", "False"]
