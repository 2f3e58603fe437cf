"""`LogTails`: the lines that a command's own doing added to the logs."""

from pathlib import Path

MAX_LINES = 25
MAX_LINES_EACH = 10


class LogTails:
    """What was written to the logs of a folder since this was made; lines of an earlier start would mislead."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._sizes = {path: path.stat().st_size for path in self._logs()}

    def of(self, path: Path) -> str:
        """The newest lines of one log; of an earlier start, where there are no others."""
        try:
            lines = self.new(path) or path.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError as exc:
            return f"({exc.strerror})"
        return "\n".join(lines[-MAX_LINES:])

    def newest(self) -> str:
        """The last lines of those logs that changed last, each under its log's path; `MAX_LINES` of them at most."""
        shown: list[str] = []
        left = MAX_LINES
        for path in sorted(self._logs(), key=lambda path: path.stat().st_mtime, reverse=True):
            lines = self.new(path)[-min(left, MAX_LINES_EACH) :] if left else []
            if lines:
                shown.append("\n".join([f"--- {path}", *lines]))
                left -= len(lines)
        return "\n".join(reversed(shown))

    def new(self, path: Path) -> list[str]:
        """The new lines of one log. Raises `OSError`."""
        before = self._sizes.get(path, 0)
        with path.open("rb") as file:
            file.seek(before if before <= path.stat().st_size else 0)  # smaller: it was rotated
            return file.read().decode(errors="replace").splitlines()

    def _logs(self) -> list[Path]:
        """Of processes, not of requests."""
        return [path for path in self._folder.glob("*.log") if ".access." not in path.name]
