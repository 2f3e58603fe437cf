"""A Docker engine of the tests' own: started, used by nobody else, and gone with all it made."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from support.processes import REPOSITORY, Process
from wsgiapp.deployment.processes import end_processes

DAEMON = shutil.which("dockerd", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin")
CLIENT = shutil.which("docker")
IMAGE = "wsgiapp/modelserver:test"
NETWORK = "wsgiapp-test"
# The image of the tests holds all but these 2 GB.
MOUNT_OF_PACKAGES = f"--mount=type=bind,src={sysconfig.get_paths()['purelib']},dst=/opt/packages,readonly"


def missing() -> str:
    """Why no engine can be started here; empty where one can."""
    if os.geteuid() != 0:
        return "a container engine can be started by root only"
    absent = [name for name, path in (("dockerd", DAEMON), ("docker", CLIENT)) if not path]
    return (
        f"no container engine to start: {', '.join(absent)} not found; `apt-get install docker.io` (and docker-cli)"
        if absent
        else ""
    )


class DockerEngine:
    """`dockerd` without a default network, so that it changes nothing on this machine that it does not undo."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # pytest's folders have names too long for a socket's path.
        self._short = Path(tempfile.mkdtemp(prefix="engine-"))
        self.address = f"unix://{self._short}/docker.sock"

    def __enter__(self) -> Self:
        command = [
            str(DAEMON),
            f"--host={self.address}",
            f"--data-root={self.folder}/data",
            f"--exec-root={self._short}/exec",
            f"--pidfile={self._short}/pid",
            "--bridge=none",
            "--iptables=false",
            "--ip6tables=false",
        ]
        self._daemon = Process(command, self.folder / "dockerd.log")
        try:
            self._daemon.wait_until(lambda: self._run("version").returncode == 0)
        except BaseException:
            self.__exit__()
            raise
        return self

    def obstacle(self) -> str:
        """What keeps the engine from running containers here (a chroot, missing cgroups ...); empty if nothing does."""
        empty = self.folder / "empty.tar"
        with tarfile.open(empty, "w"):
            pass
        self("import", str(empty), "probe")
        tried = self._run("run", "--rm", "--network=none", "probe", "/nothing")
        found_nothing = "/nothing" in tried.stderr and "no such file" in tried.stderr
        return "" if found_nothing else " ".join(tried.stderr.split())[-300:]

    def __exit__(self, *exc_info: object) -> None:
        with suppress(AssertionError):
            for container in self.containers():
                self("rm", "--force", container)
            if NETWORK in self("network", "ls", "--format={{.Name}}").split():
                self("network", "rm", NETWORK)
        self._daemon.__exit__()
        end_processes(self._processes(), 10)
        for mount in reversed(self._mounts()):
            subprocess.run(["umount", "--lazy", mount], check=True)
        shutil.rmtree(self.folder / "data", ignore_errors=True)
        shutil.rmtree(self._short)

    def __call__(self, *arguments: str) -> str:
        """What the client prints."""
        done = self._run(*arguments)
        assert done.returncode == 0, f"docker {' '.join(arguments)}: {done.stderr}"
        return done.stdout.strip()

    def containers(self) -> list[str]:
        """The ids of all containers, running or not."""
        return self("ps", "--all", "--quiet", "--no-trunc").split()

    def inspect(self, container: str) -> Any:
        return json.loads(self("container", "inspect", container))[0]

    def build_image(self) -> None:
        """The built-in model server under TF Serving's entry point."""
        builder = [sys.executable, str(REPOSITORY / "scripts/build_image.py"), f"--tag={IMAGE}", "--without-packages"]
        subprocess.run(builder, check=True, env=self.environment, stdout=subprocess.DEVNULL)

    @property
    def environment(self) -> dict[str, str]:
        """This process's environment, with clients sent to this engine."""
        return {**os.environ, "DOCKER_HOST": self.address}

    def _run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([str(CLIENT), *arguments], env=self.environment, capture_output=True, text=True)

    def _processes(self) -> list[int]:
        """containerd and its shims: their command lines name the engine's folder."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if f"{self._short}/" in (entry / "cmdline").read_text(errors="replace"):
                    found.append(int(entry.name))
        return [pid for pid in found if pid != os.getpid()]

    def _mounts(self) -> list[str]:
        mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
        return [mount for mount in mounts if mount.startswith((f"{self._short}/", f"{self.folder}/"))]
