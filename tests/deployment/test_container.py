"""TensorFlow Serving in a container: a real engine, and an image of the built-in server under TF Serving's flags."""

import csv
import os
import shlex
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from deployment.test_stack import is_positive, processes_of, text_url
from support import docker_engine
from support.docker_engine import IMAGE, MOUNT_OF_PACKAGES, NETWORK, DockerEngine
from support.http_client import Load, fetch
from support.processes import REPOSITORY, free_port, poll
from support.stack import RunningStack
from wsgiapp.deployment.container import Container
from wsgiapp.deployment.nginx import find_nginx
from wsgiapp.deployment.render import render
from wsgiapp.settings.loading import load_settings

MEMORY = 4 * 2**30
ONE_MODEL = """model_config_list { config {
    name: "lstm" base_path: "@{models}/lstm" model_platform: "tensorflow"
} }"""


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerEngine]:
    reason = docker_engine.missing() or ("" if find_nginx(load_settings({})) else "Nginx is not installed")
    if reason:
        pytest.skip(reason)
    with ExitStack() as stack:
        try:
            started = stack.enter_context(DockerEngine(tmp_path_factory.mktemp("engine")))
        except AssertionError as exc:
            pytest.skip(f"no container engine starts here: {' '.join(str(exc).split())[-300:]}")
        if obstacle := started.obstacle():
            pytest.skip(f"the container engine runs no container here: {obstacle}")
        started.build_image()
        started("network", "create", NETWORK)
        yield started


def contained(home: Path, engine: DockerEngine, **variables: str) -> RunningStack:
    """A stack, not started yet, with the sentiment model in a container."""
    stack = RunningStack(home)
    (home / "conf/wsgiapp.toml").write_text('[models.lstm]\npipeline = "segmented_text"\n')
    (home / "conf/models.config").write_text(ONE_MODEL)
    stack.variables |= {
        "WSGIAPP_APP_BACKEND": "container",
        "WSGIAPP_CONTAINER_ENGINE": f"docker --host {engine.address}",
        "WSGIAPP_CONTAINER_IMAGE": IMAGE,
        "WSGIAPP_CONTAINER_PULL": "never",
        "WSGIAPP_CONTAINER_NETWORK": NETWORK,
        "WSGIAPP_CONTAINER_ARGUMENTS": shlex.quote(MOUNT_OF_PACKAGES),
        **variables,
    }
    return stack


@pytest.fixture(scope="module")
def module_stack(engine: DockerEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    stack = contained(
        tmp_path_factory.mktemp("contained"),
        engine,
        WSGIAPP_CONTAINER_NAME="wsgiapp-serving",
        WSGIAPP_CONTAINER_MEMORY_BYTES=str(MEMORY),
        WSGIAPP_CONTAINER_CPUS="1.5",
    )
    try:
        yield stack
    finally:
        stack.wsgiapp("down")


@pytest.fixture
def stack(module_stack: RunningStack, request: pytest.FixtureRequest) -> Iterator[RunningStack]:
    """The stack with its container, ready."""
    up = module_stack.wsgiapp("up")
    assert up.returncode == 0, up.stderr + module_stack.logs()
    module_stack.wait_until_ready()
    failed_before = request.session.testsfailed
    yield module_stack
    if request.session.testsfailed > failed_before:
        print(module_stack.logs())


def launcher_s_client(stack: RunningStack) -> int:
    """The process id of the engine's client that the launcher waits for."""
    launcher = stack.pids()["modelserver"]
    clients = poll(lambda: Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split(), 10)
    return int(clients[0])


def test_a_confined_container_answers_through_nginx(stack: RunningStack, engine: DockerEngine) -> None:
    assert is_positive(fetch(text_url(stack)).body)
    (container,) = engine.containers()
    found = engine.inspect(container)
    assert found["Name"] == "/wsgiapp-serving"
    assert found["Path"] == "/usr/bin/tf_serving_entrypoint.sh"
    assert (found["HostConfig"]["Memory"], found["HostConfig"]["MemorySwap"]) == (MEMORY, MEMORY)
    assert found["HostConfig"]["NanoCpus"] == 1_500_000_000
    assert found["HostConfig"]["PortBindings"] == {
        f"{stack.backend_port}/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(stack.backend_port)}]
    }
    status = Path(f"/proc/{found['State']['Pid']}/status").read_text()
    rights = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert rights["Uid"].split() == ["65534"] * 4
    assert int(rights["CapBnd"], 16) == 0 and rights["NoNewPrivs"] == "1"
    assert all(not mount["RW"] for mount in found["Mounts"])
    assert str(stack.home / "run") not in [mount["Source"] for mount in found["Mounts"]]


def test_stop_start_restart(stack: RunningStack, engine: DockerEngine) -> None:
    started = time.monotonic()
    assert "modelserver: stopped" in stack.supervisorctl("stop", "modelserver")
    assert time.monotonic() - started < 15, "the server got SIGTERM, and was not killed after a while"
    assert engine.containers() == []
    assert fetch(text_url(stack)).status == 503
    stack.supervisorctl("start", "modelserver")
    poll(lambda: fetch(text_url(stack)).status == 200)
    before = engine.containers()
    stack.supervisorctl("restart", "modelserver")
    poll(lambda: fetch(text_url(stack)).status == 200)
    assert len(engine.containers()) == 1 and engine.containers() != before


def test_a_killed_container_comes_back_under_load(stack: RunningStack, engine: DockerEngine) -> None:
    before = engine.containers()
    with Load(text_url(stack), is_positive) as load:
        poll(lambda: load.answered > 50)
        engine("kill", *before)
        poll(lambda: load.failures)
        poll(lambda: fetch(text_url(stack)).status == 200)
        failed, seen = len(load.failures), load.answered
        poll(lambda: load.answered > seen + 50)
        assert len(load.failures) == failed
    assert all(failure.startswith("503 ") for failure in load.failures), load.failures[:5]
    assert len(engine.containers()) == 1 and engine.containers() != before
    assert "the container ended: exit status 137" in (stack.home / "log/modelserver.log").read_text()


@pytest.mark.parametrize("process", ["the launcher", "its client"])
def test_a_killed_process_leaves_no_second_container(stack: RunningStack, engine: DockerEngine, process: str) -> None:
    before = engine.containers()
    pid = stack.pids()["modelserver"] if process == "the launcher" else launcher_s_client(stack)
    os.kill(pid, signal.SIGKILL)
    poll(lambda: len(engine.containers()) == 1 and engine.containers() != before)
    poll(lambda: fetch(text_url(stack)).status == 200)
    assert len(engine.containers()) == 1


def test_a_left_over_container_is_no_obstacle_and_down_leaves_none(stack: RunningStack, engine: DockerEngine) -> None:
    before = engine.containers()
    kill_supervision(stack)
    assert engine.inspect(before[0])["State"]["Running"]
    up = stack.wsgiapp("up")
    assert up.returncode == 0, up.stderr
    assert is_positive(fetch(text_url(stack)).body)
    assert len(engine.containers()) == 1 and engine.containers() != before
    kill_supervision(stack)
    assert len(engine.containers()) == 1
    (stack.home / "run/started.json").unlink()  # so that the shell's variables count
    blind = stack.wsgiapp("down", WSGIAPP_CONTAINER_ENGINE="docker --host unix:///nowhere")
    assert blind.returncode == 1 and "container.engine: it does not answer" in blind.stderr
    down = stack.wsgiapp("down", WSGIAPP_APP_BACKEND="embedded")
    assert down.returncode == 0, down.stderr
    assert engine.containers() == []
    assert processes_of(stack.home) == []


def test_a_unix_socket_and_no_network(
    engine: DockerEngine, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    stack = contained(tmp_path_factory.mktemp("socket"), engine)
    # Without the entry point's shell between them, SIGTERM reaches the server itself.
    stack.variables["WSGIAPP_CONTAINER_ARGUMENTS"] += " --entrypoint=tensorflow_model_server"
    address = stack.home / "run/serving.sock"
    stack.variables["WSGIAPP_BACKEND_ADDRESS"] = f"unix:{address}"
    try:
        up = stack.wsgiapp("up")
        assert up.returncode == 0, up.stderr
        assert is_positive(fetch(text_url(stack)).body)
        name = engine("ps", "--filter", f"label=wsgiapp.home={stack.home}", "--format={{.Names}}")
        assert name.startswith("wsgiapp-")
        found = engine.inspect(name)
        assert found["HostConfig"]["NetworkMode"] == "none"
        assert [mount["Destination"] for mount in found["Mounts"] if mount["RW"]] == ["/run/wsgiapp"]
        assert address.resolve().parent.stat().st_mode & 0o777 == 0o700
        (tmp_path / "models").symlink_to(stack.home / "models")
        second = stack.wsgiapp("up", WSGIAPP_HOME=str(tmp_path), WSGIAPP_HTTP_PORT=str(free_port()))
        assert f"backend.address: somebody listens on unix:{address}" in second.stderr
    finally:
        down = stack.wsgiapp("down")
    assert down.returncode == 0, down.stderr
    assert engine("ps", "--all", "--quiet", "--filter", f"label=wsgiapp.home={stack.home}") == ""
    assert [path for path in (stack.home / "run").rglob("*") if path.is_socket() or path.is_symlink()] == []
    assert "draining" in (stack.home / "log/modelserver.log").read_text()


def test_a_name_that_is_taken(engine: DockerEngine, tmp_path: Path) -> None:
    stranger = engine("create", "--name=stranger", IMAGE)
    try:
        up = contained(tmp_path, engine, WSGIAPP_CONTAINER_NAME="stranger").wsgiapp("up")
        assert up.returncode == 1
        assert "container.name: another container has the name stranger" in up.stderr
        assert stranger in engine.containers()
    finally:
        engine("rm", stranger)


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"ENGINE": "no-such-engine"}, "container.engine: cannot run no-such-engine (No such file or directory)"),
        ({"ENGINE": "docker --host unix:///nowhere"}, "container.engine: it does not answer; docker ps: "),
        ({"IMAGE": "nosuch:1"}, 'container.image: the engine has no image nosuch:1, and container.pull is "never"'),
        ({"IMAGE": "{nobody}/nosuch:1", "PULL": "missing"}, "container.image: cannot pull {nobody}/nosuch:1: "),
        ({"USER": "12345:12345"}, "models/lstm: the container's user 12345:12345 cannot read it"),
        ({"FLAGS": "--nosuch"}, "unrecognized arguments: --nosuch"),
        ({"ARGUMENTS": "--nosuch"}, "docker create: unknown flag: --nosuch"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_keeps_it_from_starting_is_said(
    engine: DockerEngine, tmp_path_factory: pytest.TempPathFactory, variables: dict[str, str], message: str
) -> None:
    nobody = f"127.0.0.1:{free_port()}"
    named = {f"WSGIAPP_CONTAINER_{key}": value.format(nobody=nobody) for key, value in variables.items()}
    stack = contained(tmp_path_factory.mktemp("rejected"), engine, **named)
    if "USER" in variables:
        (stack.home / "models/lstm/1/saved_model.pb").chmod(0o600)
    try:
        up = stack.wsgiapp("up")
    finally:
        stack.wsgiapp("down")
    assert up.returncode == 1
    assert message.format(nobody=nobody) in up.stderr
    assert "Traceback" not in up.stderr
    assert engine("ps", "--all", "--quiet", "--filter", f"label=wsgiapp.home={stack.home}") == ""


def kill_supervision(stack: RunningStack) -> None:
    """As if everything but the container had been killed by hand."""
    supervisord, processes = int((stack.home / "run/supervisord.pid").read_text()), stack.pids()
    for pid in (supervisord, launcher_s_client(stack), processes["modelserver"]):
        os.kill(pid, signal.SIGKILL)


FAKE_ENGINE = """#!/bin/bash
case $1 in
    image) exit 1 ;;
    pull) echo "pulling $2"; echo done ;;
    create) printf "%s\\n" "$@" > "{record}"; echo id ;;
    container) echo {end} ;;
esac
"""


def pretending(folder: Path, name: str = "docker", end: str = "exited 0 false", **variables: str) -> Container:
    """A container of an engine that only writes down, in the file `record`, what it is told to create."""
    program = folder / name
    program.write_text(FAKE_ENGINE.format(record=folder / "record", end=end))
    program.chmod(0o755)
    settings = load_settings(
        {
            "WSGIAPP_CONF": str(REPOSITORY / "conf"),
            "WSGIAPP_APP_BACKEND": "container",
            "WSGIAPP_HOME": str(folder),
            "WSGIAPP_CONTAINER_ENGINE": str(program),
            **variables,
        }
    )
    render(settings)
    return Container(settings)


@pytest.fixture
def options(tmp_path: Path) -> Callable[..., list[str]]:
    """What an engine is told to create."""

    def asked(name: str = "docker", **variables: str) -> list[str]:
        assert pretending(tmp_path, name, **variables).run() == 1, "it has ended at once"
        return (tmp_path / "record").read_text().splitlines()

    return asked


def test_a_missing_image_is_pulled_with_progress(tmp_path: Path) -> None:
    reported: list[str] = []
    pretending(tmp_path).prepare(reported.append)
    image = "tensorflow/serving:2.19.1"
    assert reported == [f"pulling {image}: pulling {image}", f"pulling {image}: done"]


def test_one_gpu(options: Callable[..., list[str]]) -> None:
    told = options(WSGIAPP_CONTAINER_GPU="2")
    assert {"--gpus=all", "--env=CUDA_VISIBLE_DEVICES=2", "--env=CUDA_DEVICE_ORDER=PCI_BUS_ID"} <= set(told)
    assert "tensorflow/serving:2.19.1-gpu" in told
    assert "--device=nvidia.com/gpu=all" in options("podman", WSGIAPP_CONTAINER_GPU="2")


def test_without_a_gpu(options: Callable[..., list[str]]) -> None:
    told = options()
    assert not any(option.startswith(("--gpus", "--env")) for option in told)
    assert "tensorflow/serving:2.19.1" in told


def test_never_root_but_by_its_name(options: Callable[..., list[str]]) -> None:
    uid, gid = (os.getuid(), os.getgid()) if os.getuid() else (65534, 65534)
    assert f"--user={uid}:{gid}" in options()
    assert "--user=0:0" in options(WSGIAPP_CONTAINER_USER="0:0")


def test_the_host_s_network_opens_no_port_of_its_own(options: Callable[..., list[str]]) -> None:
    told = options(WSGIAPP_CONTAINER_NETWORK="host")
    assert "--network=host" in told and not any(option.startswith("--publish") for option in told)
    assert "--publish=127.0.0.1:8500:8500" in options(WSGIAPP_BACKEND_ADDRESS="localhost:8500")


def test_rest_is_published_where_the_settings_ask_for_it(options: Callable[..., list[str]]) -> None:
    told = options(WSGIAPP_BACKEND_REST_PORT="8501")
    assert "--rest_api_port=8501" in told
    assert [option for option in told if option.startswith("--publish")] == [
        "--publish=127.0.0.1:8501:8501",
        "--publish=127.0.0.1:8500:8500",
    ]
    at_a_socket = options(WSGIAPP_BACKEND_REST_PORT="8501", WSGIAPP_BACKEND_ADDRESS="unix:/tmp/s")
    assert "--publish=127.0.0.1:8501:8501" in at_a_socket and "--network=bridge" in at_a_socket
    assert "--publish=127.0.0.1:8500:8500" not in at_a_socket


def test_flags_follow_the_image_and_odd_paths_stay_whole(options: Callable[..., list[str]], tmp_path: Path) -> None:
    odd = tmp_path / "a, b"
    (odd / "models").mkdir(parents=True)
    told = options(WSGIAPP_HOME=str(odd), WSGIAPP_CONTAINER_FLAGS="--enable_batching '--x=a b'")
    (mount,) = (option for option in told if option.startswith("--mount=") and "models.config" not in option)
    assert next(csv.reader([mount.removeprefix("--mount=")])) == [
        "type=bind",
        f"src={odd}/models",
        f"dst={odd}/models",
        "readonly",
    ]
    flags = told[told.index("tensorflow/serving:2.19.1") + 1 :]
    assert flags[-2:] == ["--enable_batching", "--x=a b"]
    assert {"--port=8500", "--rest_api_port=0", f"--model_config_file={odd}/run/models.config"} <= set(flags)
    content = "--enable_serialization_as_tensor_content=true"
    assert content not in flags and content in options(WSGIAPP_BACKEND_SERIALIZE_AS_TENSOR_CONTENT="true")


@pytest.mark.parametrize(
    ("end", "said"),
    [
        ("exited 1 false", "exit status 1"),
        ("exited 137 true", "exit status 137, it needed more than container.memory_bytes"),
        ("created 0 false", "docker could not start it"),
        ("running 0 false", "docker's client left it"),
    ],
)
def test_why_it_ended_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture, end: str, said: str) -> None:
    assert pretending(tmp_path, end=end).run() == 1
    assert caplog.messages[-1] == f"the container ended: {said}"
