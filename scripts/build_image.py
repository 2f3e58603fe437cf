"""Build a container image of the built-in model server, from this environment and nothing else.

    python scripts/build_image.py --tag wsgiapp/modelserver:latest

It stands in for `tensorflow/serving` where no registry can be reached: the same entry point, `tensorflow_model_server`
behind it, the same flags. It holds the interpreter, the packages and the shared libraries that are here. With
`--without-packages` the Python packages (2 GB) stay out, and whoever runs the image mounts them:

    --mount=type=bind,src=SITE_PACKAGES,dst=/opt/packages,readonly
"""

import argparse
import io
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO

# A line of ldd's: `libc.so.6 => /lib/libc.so.6 (0x00007f...)`, or the path alone.
LIBRARY = re.compile(r"^\s*(?:\S+ => )?(/.+) \(0x[0-9a-f]+\)$", re.MULTILINE)
REPOSITORY = Path(__file__).resolve().parent.parent
APPLICATION = Path("/opt/application")
PACKAGES_INSIDE = Path("/opt/packages")
STANDARD_LIBRARY = Path(sysconfig.get_paths()["stdlib"])
PACKAGES = Path(sysconfig.get_paths()["purelib"])
PYTHON = Path(sys.executable).resolve()
SHELL = Path("/bin/bash")
SERVER = Path("/usr/bin/tensorflow_model_server")
ENTRY_POINT = Path("/usr/bin/tf_serving_entrypoint.sh")
# What tensorflow/serving has there: tensorflow_serving/tools/docker/Dockerfile in TF Serving's sources.
ENTRY_POINT_TEXT = """#!/bin/bash

tensorflow_model_server --port=8500 --rest_api_port=8501 \
--model_name=${MODEL_NAME} --model_base_path=${MODEL_BASE_PATH}/${MODEL_NAME} \
"$@"
"""
SERVER_TEXT = f'#!/bin/bash\n\nexec "{PYTHON}" -m wsgiapp.modelserver "$@"\n'
CHANGES = (  # one of each on a line, which is what every engine reads
    f'ENTRYPOINT ["{ENTRY_POINT}"]',
    "ENV PATH=/usr/bin:/bin",
    f"ENV PYTHONPATH={APPLICATION}:{PACKAGES_INSIDE}",
    "ENV PYTHONDONTWRITEBYTECODE=1",
    "ENV KERAS_HOME=/tmp/keras",
    "ENV MODEL_NAME=model",
    "ENV MODEL_BASE_PATH=/models",
    "EXPOSE 8500",
    "EXPOSE 8501",
)
NOT_OF_THE_LIBRARY = re.compile(r"/(__pycache__|test|tests|idlelib|ensurepip|config-[^/]+|(site|dist)-packages)$|\.a$")
NOT_WANTED = re.compile(r"/(__pycache__|tensorflow/include)$")


def main() -> int:
    """Stream the files to the engine's `import`; its exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tag", default="wsgiapp/modelserver:latest", help="name of the image")
    parser.add_argument("--engine", default="docker", help="docker or podman")
    parser.add_argument("--without-packages", action="store_true", help="leave the Python packages to a mount")
    arguments = parser.parse_args()
    command = [arguments.engine, "import", *(f"--change={line}" for line in CHANGES), "-", arguments.tag]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as engine:
        assert engine.stdin is not None
        with suppress(BrokenPipeError):  # the engine says itself why it wants no more
            write_image(engine.stdin, with_packages=not arguments.without_packages)
    return engine.returncode


def write_image(stream: IO[bytes], *, with_packages: bool) -> None:
    """Write the image's files as a tar archive. Programs and libraries have the paths that they have here."""
    programs = [SHELL, PYTHON]
    binaries = [*programs, *STANDARD_LIBRARY.rglob("*.so"), *PACKAGES.glob("tensorflow/*.so*")]
    files = [*programs, *sorted(_libraries(binaries))]
    with tarfile.open(fileobj=stream, mode="w|") as archive:
        _add_folders(archive, [*files, STANDARD_LIBRARY, PACKAGES_INSIDE, APPLICATION / "wsgiapp", ENTRY_POINT, SERVER])
        for file in files:
            archive.add(file.resolve(), str(file), filter=_ordinary)
        archive.add(STANDARD_LIBRARY, filter=lambda member: _ordinary(member, without=NOT_OF_THE_LIBRARY))
        if with_packages:
            archive.add(PACKAGES, str(PACKAGES_INSIDE), filter=_ordinary)
        archive.add(REPOSITORY / "wsgiapp", f"{APPLICATION}/wsgiapp", filter=_ordinary)
        _add_script(archive, ENTRY_POINT, ENTRY_POINT_TEXT)
        _add_script(archive, SERVER, SERVER_TEXT)


def _add_folders(archive: tarfile.TarFile, paths: Iterable[Path]) -> None:
    """The folders that lead to `paths`. Those that an archive leaves out an engine may make for root alone."""
    for folder in sorted({parent for path in paths for parent in path.parents[:-1]}):
        member = tarfile.TarInfo(str(folder))
        member.type, member.mode = tarfile.DIRTYPE, 0o755
        archive.addfile(member)


def _libraries(binaries: Iterable[Path]) -> Iterator[Path]:
    """The shared libraries that the loader would take for any of `binaries`, itself included."""
    printed = subprocess.run(["ldd", *binaries], capture_output=True, text=True, check=True).stdout  # noqa: S607  # nosec B607
    for path in {Path(os.path.normpath(found)) for found in LIBRARY.findall(printed)}:
        if not path.is_relative_to(PACKAGES):
            yield path


def _ordinary(member: tarfile.TarInfo, without: re.Pattern[str] = NOT_WANTED) -> tarfile.TarInfo | None:
    """A member that belongs to root and that every user can read, or `None` where it is not wanted."""
    member.uid = member.gid = 0
    member.mode |= 0o555 if member.mode & 0o100 else 0o444
    return None if without.search(f"/{member.name}") else member


def _add_script(archive: tarfile.TarFile, path: Path, text: str) -> None:
    member = tarfile.TarInfo(str(path))
    member.size, member.mode = len(text.encode()), 0o755
    archive.addfile(member, io.BytesIO(text.encode()))


if __name__ == "__main__":
    sys.exit(main())
