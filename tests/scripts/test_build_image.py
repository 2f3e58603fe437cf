"""The image's archive holds what the server needs, and every user can reach it."""

import subprocess
import sys
import tarfile
from pathlib import Path, PurePosixPath

from support.processes import REPOSITORY

PROGRAMS = ("/bin/bash", "/usr/bin/tf_serving_entrypoint.sh", "/usr/bin/tensorflow_model_server")


def test_every_file_can_be_reached_by_every_user(tmp_path: Path) -> None:
    engine, image = tmp_path / "engine", tmp_path / "image.tar"
    engine.write_text(f"#!/bin/sh\ncat > {image}\n")
    engine.chmod(0o755)
    script = REPOSITORY / "scripts/build_image.py"
    subprocess.run([sys.executable, str(script), f"--engine={engine}", "--without-packages"], check=True)
    with tarfile.open(image) as archive:
        members = {f"/{member.name.lstrip('/')}": member for member in archive}
    for path, member in members.items():
        assert (member.uid, member.gid) == (0, 0), path
        assert member.issym() or member.mode & 0o004, path
        for parent in list(PurePosixPath(path).parents)[:-1]:
            folder = members[str(parent)]
            assert folder.issym() or (folder.isdir() and folder.mode & 0o005 == 0o005), parent
    for program in (*PROGRAMS, str(Path(sys.executable).resolve())):
        assert members[program].mode & 0o005 == 0o005, program
    assert any(path.endswith("/wsgiapp/modelserver/__main__.py") for path in members)
    assert not [path for path in members if "__pycache__" in path]
