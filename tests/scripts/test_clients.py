"""The client examples, run as a reader would run them, against the running stack."""

import os
import shlex
import shutil
import subprocess
import sys

import pytest

from support.processes import REPOSITORY, free_port
from support.stack import RunningStack
from wsgiapp.deployment.nginx import find_nginx
from wsgiapp.settings.loading import load_settings

pytestmark = pytest.mark.skipif(find_nginx(load_settings({})) is None, reason="Nginx is not installed")
CLIENTS = REPOSITORY / "scripts/clients"


# A proxy of a company, which would look for 127.0.0.1 on itself; here nobody answers there.
PROXY = "http://127.0.0.1:9"


def run(*command: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    environment |= {"http_proxy": PROXY, "HTTP_PROXY": PROXY, "all_proxy": PROXY}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    return done.stdout


def python(name: str, address: str) -> str:
    return run(sys.executable, str(CLIENTS / name), address)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl(stack: RunningStack) -> None:
    text, texts, form, bare, tensors = run(str(CLIENTS / "curl.sh"), stack.url).split("--- ")[1:]
    assert '"status":0' in text and '"labels":"POS"' in text
    assert texts.index('"POS"') < texts.index('"NEG"')
    assert '"shape":[4,4]' in form
    assert int(bare.splitlines()[1].split()[0]) > 50
    assert '"labels": "NEG"' in tensors and '"state": "AVAILABLE"' in tensors


def test_requests(stack: RunningStack) -> None:
    assert python("with_requests.py", stack.url).splitlines()[:3] == [
        "我很喜欢中国银行的产品 POS",
        "非常讨厌 NEG",
        "40 texts by 8 threads",
    ]


def test_rest(stack: RunningStack) -> None:
    lines = python("with_rest.py", stack.url).splitlines()
    assert "lstm: versions {'1': 'AVAILABLE'}, labels {}" in lines
    assert "inputs: {'nwords': 'DT_INT32', 'words': 'DT_STRING'}" in lines
    assert [line.split()[1] for line in lines if line.startswith("row:")] == ["NEG", "POS"]
    assert "column: ['NEG', 'POS']" in lines
    assert lines[-1].startswith("rejected: 400: Failed to process element: 0 of 'instances' list.")


def test_the_demo(stack: RunningStack) -> None:
    """What `make up` shows; the terminal knows nothing but the home."""
    command = shlex.join([sys.executable, str(REPOSITORY / "scripts/demo.py")])
    done = stack.second_terminal().bash(f"http_proxy={PROXY} {command}")
    assert done.returncode == 0, done.stderr
    assert f"curl '{stack.url}/lstm/predict?line=" in done.stdout and '"labels":"POS"' in done.stdout


def test_grpc(stack: RunningStack) -> None:
    first, second, third = python("with_grpc.py", f"127.0.0.1:{stack.backend_port}").splitlines()
    assert first == "lstm version 1 is AVAILABLE"
    assert second.startswith("version 1: NEG [")
    assert third == "rejected: NOT_FOUND: Servable not found for request: Specific(lstm, 999)"


@pytest.mark.parametrize("name", ["with_rest.py", "with_grpc.py"])
def test_nobody_is_there(name: str) -> None:
    address = f"127.0.0.1:{free_port()}"
    command = [sys.executable, str(CLIENTS / name), address if name == "with_grpc.py" else f"http://{address}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr.startswith("no answer: ") and "Traceback" not in done.stderr
