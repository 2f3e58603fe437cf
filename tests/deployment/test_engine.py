"""The engine's words come through: what it prints, its progress, its errors. With programs that only print."""

from pathlib import Path

import pytest

from wsgiapp.deployment.engine import Engine
from wsgiapp.errors import EngineMissing, StackError


def engine(folder: Path, body: str) -> Engine:
    program = folder / "docker"
    program.write_text(f"#!/bin/bash\n{body}\n")
    program.chmod(0o755)
    return Engine(f"'{program}' --host here")


def test_what_it_prints(tmp_path: Path) -> None:
    docker = engine(tmp_path, 'echo "$@"')
    assert docker.name == "docker"
    assert docker.call("ps", "a b") == "--host here ps a b"
    assert list(docker.lines("pull")) == ["--host here pull"]
    assert docker.containers("name=x") == {
        "--host",
        "here",
        "ps",
        "--all",
        "--quiet",
        "--no-trunc",
        "--filter",
        "name=x",
    }


def test_what_it_says_when_it_fails(tmp_path: Path) -> None:
    docker = engine(tmp_path, "echo first; echo second >&2; exit 3")
    with pytest.raises(StackError, match=r"^docker create: second$"):
        docker.call("create")
    printed: list[str] = []
    with pytest.raises(StackError, match=r"^docker pull: second$"):
        printed.extend(docker.lines("pull"))
    with pytest.raises(EngineMissing, match=r"container.engine: it does not answer; docker ps: second"):
        docker.require()
    assert not docker.has_image("x")


def test_an_engine_that_hangs(tmp_path: Path) -> None:
    with pytest.raises(StackError, match=r"docker stop: no answer within 0 s"):
        engine(tmp_path, "exec sleep 60").call("stop", seconds=0.2)


def test_an_engine_that_is_not_there() -> None:
    for use in (lambda missing: missing.call("ps"), lambda missing: missing.started("start")):
        with pytest.raises(EngineMissing, match=r"cannot run no-such-engine .*; install Docker or Podman"):
            use(Engine("no-such-engine"))
