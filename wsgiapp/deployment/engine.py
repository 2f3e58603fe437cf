"""`Engine`: Docker or Podman, by the part of the command line that they share."""

import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

from wsgiapp.errors import EngineMissing, StackError

CALL_SECONDS = 60.0


class Engine:
    """A container engine. `command` is its program, with global options if need be, quoted as in a shell."""

    def __init__(self, command: str) -> None:
        self._command = shlex.split(command)

    @property
    def name(self) -> str:
        """`docker` or `podman`."""
        return Path(self._command[0]).name

    def require(self) -> None:
        """Raises `StackError` where the engine does not answer."""
        try:
            self.call("ps", "--quiet")
        except EngineMissing:
            raise
        except StackError as exc:
            raise EngineMissing(f"container.engine: it does not answer; {exc}") from exc

    def call(self, *arguments: str, seconds: float = CALL_SECONDS) -> str:
        """What a subcommand prints. Raises `StackError` with the engine's own words where it fails."""
        what = f"{self.name} {arguments[0]}"
        try:
            done = subprocess.run(
                [*self._command, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds
            )
        except OSError as exc:
            raise self._missing(exc) from exc
        except subprocess.TimeoutExpired as exc:
            raise StackError(f"{what}: no answer within {seconds:.0f} s") from exc
        if done.returncode != 0:
            raise StackError(f"{what}: {done.stderr.strip() or f'exit status {done.returncode}'}")
        return done.stdout.strip()

    def lines(self, *arguments: str) -> Iterator[str]:
        """What a subcommand prints, line by line while it runs. Raises `StackError` with the last one if it fails."""
        last = ""
        with self.started(*arguments) as client:
            assert client.stdout is not None  # noqa: S101
            for line in client.stdout:
                last = line.strip()
                yield last
        if client.returncode != 0:
            raise StackError(f"{self.name} {arguments[0]}: {last}")

    def started(self, *arguments: str, piped: bool = True) -> subprocess.Popen[str]:
        """A subcommand in the background; its output goes to a pipe, or to this process's own."""
        output = subprocess.PIPE if piped else None
        errors = subprocess.STDOUT if piped else None
        try:
            return subprocess.Popen(
                [*self._command, *arguments], stdin=subprocess.DEVNULL, stdout=output, stderr=errors, text=True
            )
        except OSError as exc:
            raise self._missing(exc) from exc

    def containers(self, condition: str) -> set[str]:
        """The ids of containers, running or not, that meet a `ps --filter`."""
        return set(self.call("ps", "--all", "--quiet", "--no-trunc", "--filter", condition).split())

    def has_image(self, image: str) -> bool:
        """Whether an image is here, under a name, digest or id."""
        try:
            return bool(self.call("image", "inspect", "--format", "{{.Id}}", image))
        except StackError:
            return False

    def _missing(self, exc: OSError) -> EngineMissing:
        return EngineMissing(
            f"container.engine: cannot run {self._command[0]} ({exc.strerror}); install Docker or Podman, "
            'or set app.backend to "embedded"'
        )
