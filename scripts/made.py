"""What make targets made: remember it, and remove it again, but nothing else.

    python scripts/made.py home HOME           note what is in HOME before anything is made there
    python scripts/made.py model HOME DIR      note a model version that was trained
    python scripts/made.py clean HOME          remove what can be made again, and say what is left

The notes are in HOME/.made-by-wsgiapp. A trained version whose files have changed since is somebody's own, and stays.
"""

import argparse
import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
NOTES = ".made-by-wsgiapp"
# Folders of HOME that hold nothing but what processes write while they run, and what is trained or drawn for the demo.
FOLDERS = ("bench", "cache", "demo", "log", "run", "tmp")
BUILT = (".venv", "build", ".pytest_cache", ".ruff_cache", ".mypy_cache", ".coverage")


def main(argv: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("command", choices=("home", "model", "clean"))
    parser.add_argument("home", type=Path)
    parser.add_argument("directory", type=Path, nargs="?")
    arguments = parser.parse_args(argv)
    if arguments.command == "home":
        note_home(arguments.home)
    elif arguments.command == "model":
        note_model(arguments.home, arguments.directory)
    else:
        for left in clean(arguments.home, REPOSITORY):
            print(f"left: {left}")


def note_home(home: Path) -> None:
    """Note what is there already; later calls change nothing."""
    if not (home / NOTES).exists():
        home.mkdir(parents=True, exist_ok=True)
        _write(home, {"found": sorted(entry.name for entry in home.iterdir()), "models": {}})


def note_model(home: Path, directory: Path) -> None:
    """Note a version directory, by what is in it."""
    notes = _read(home)
    notes["models"][str(directory.absolute())] = digest(directory)
    _write(home, notes)


def clean(home: Path, repository: Path) -> list[Path]:
    """Remove what was made in `home` and in `repository`; what is left in `home`, the outermost paths only."""
    notes = _read(home)
    for name in FOLDERS:
        if name not in notes["found"]:
            shutil.rmtree(home / name, ignore_errors=True)
    for directory, before in notes["models"].items():
        if Path(directory).is_dir() and digest(Path(directory)) == before:
            shutil.rmtree(directory)
            _remove_empty(Path(directory).parent, home)
    (home / NOTES).unlink(missing_ok=True)
    for path in _built(repository):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    if home.is_dir():
        _remove_empty(home, home.parent)
    return sorted(home.iterdir()) if home.is_dir() else []


def digest(directory: Path) -> str:
    """Of the names and the bytes of all files."""
    total = hashlib.sha256()
    for path in sorted(path for path in directory.rglob("*") if path.is_file()):
        total.update(f"{path.relative_to(directory)}\0".encode())
        total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def _built(repository: Path) -> Iterator[Path]:
    yield from (repository / name for name in BUILT if (repository / name).exists())
    yield from repository.glob("*.egg-info")
    for folder in ("wsgiapp", "tests", "scripts"):
        yield from list((repository / folder).rglob("__pycache__"))


def _remove_empty(folder: Path, stop: Path) -> None:
    """Remove a folder, and those around it up to `stop`, as far as nothing is in them."""
    while folder != stop and folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
        folder = folder.parent


def _read(home: Path) -> dict[str, Any]:
    """The notes; where there are none, nothing was made here, and all that is there was found."""
    try:
        notes: dict[str, Any] = json.loads((home / NOTES).read_text(encoding="utf-8"))
    except FileNotFoundError:
        notes = {"found": [entry.name for entry in home.iterdir()] if home.is_dir() else [], "models": {}}
    return notes


def _write(home: Path, notes: dict[str, Any]) -> None:
    (home / NOTES).write_text(json.dumps(notes, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
