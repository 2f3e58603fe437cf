"""The commands in the documents do what is said, and print what is shown.

With WSGIAPP_REFRESH_DOCS=1 (`make docs`) what is shown is written anew instead of compared.
"""

import os
import re
import shutil
import subprocess
import sys
import time
import venv
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from support.documents import PRINTED, Block, blocks, difference, pages, steps, translation
from support.http_client import fetch
from support.processes import REPOSITORY
from support.stack import RunningStack

REFRESH = os.environ.get("WSGIAPP_REFRESH_DOCS") == "1"
TOKEN = "secret"  # noqa: S105
MIN_CORRELATION = 0.7  # of two masks of one photograph; 1 where the demo model is the same
SETTLE_SECONDS = 20.0  # for what is verified in the background, and for logs that are written in blocks
PROGRAM = """#!{python}
import sys
from {module} import main
sys.exit(main())
"""
PROGRAMS = {
    "wsgiapp": "wsgiapp.cli.__main__",
    "supervisorctl": "supervisor.supervisorctl",
}


class CommandFailed(AssertionError):
    """A command ended with another status than 0."""


class Site:
    """A folder that looks like the repository's to the commands, with a stack of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stack = RunningStack(folder / "var")
        (folder / "var/conf").rename(folder / "conf")
        for name in ("docs", "scripts"):
            (folder / name).symlink_to(REPOSITORY / name)
        self._make_environment(folder / ".venv")
        self.stack.variables |= {"WSGIAPP_CONF": str(folder / "conf"), "WSGIAPP_MANAGEMENT_TOKEN": TOKEN}
        del self.stack.variables["WSGIAPP_APP_WATCHDOG_SECONDS"]  # as in the documents

    def _make_environment(self, path: Path) -> None:
        """A virtual environment on top of the tests' own, so that a pipeline can be installed into it."""
        venv.create(path, with_pip=True, symlinks=True)
        own = next(path.glob("lib/*/site-packages"))
        beneath = next(Path(sys.prefix).glob("lib/*/site-packages"))
        (own / "tests.pth").write_text(f"import site; site.addsitedir({str(beneath)!r})\n")
        for name, module in PROGRAMS.items():
            program = path / "bin" / name
            program.write_text(PROGRAM.format(python=path / "bin/python", module=module))
            program.chmod(0o755)

    def run(self, command: str) -> str:
        """What a block of commands prints."""
        for written, here in (
            ("127.0.0.1:8080", f"127.0.0.1:{self.stack.port}"),
            ("127.0.0.1:8500", f"127.0.0.1:{self.stack.backend_port}"),
            ("scripts/clients/curl.sh", f"scripts/clients/curl.sh {self.stack.url}"),
        ):
            command = command.replace(written, here)
        if "models check" in command:  # a reader takes longer than a test from one command to the next
            for path in (self.folder / "var/models/parcels").rglob("*"):
                os.utime(path, (time.time() - 60, time.time() - 60))
        command = re.sub(r"^make (restart|status)$", r".venv/bin/wsgiapp \1", command, flags=re.MULTILINE)
        control = r".venv/bin/supervisorctl -c var/run/supervisord.conf \1"
        command = re.sub(r'^make supervisorctl ARGS="(.+)"$', control, command, flags=re.MULTILINE)
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("WSGIAPP_")}
        # pip takes what the tests' environment has, and nothing from elsewhere.
        offline = {"PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "0", "PIP_NO_DEPS": "1"}
        quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_HOME": str(self.folder / "var/cache"), "CURL_HOME": "/nonexistent"}
        done = subprocess.run(
            ["bash", "-c", f'set -eo pipefail; curl() {{ command curl -sS "$@"; }}\n{command}'],
            cwd=self.folder,
            env={**inherited, **self.stack.variables, **offline, **quiet, "TOKEN": TOKEN},
            capture_output=True,
            text=True,
            timeout=180,
        )
        if done.returncode != 0:
            raise CommandFailed(f"{command}\n{done.stdout}{done.stderr}{self.stack.logs()}")
        return done.stdout

    def as_installed(self, output: str) -> str:
        """What is printed, with the paths of an installation instead of this machine's."""
        for folder in (self.folder, REPOSITORY):
            output = output.replace(str(folder), "/srv/wsgiapp")
        return output

    def write(self, name: str, text: str) -> None:
        """A file of the walk-through; of the configuration, too."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    made = Site(tmp_path_factory.mktemp("d"))
    try:
        made.run(".venv/bin/wsgiapp up")
        yield made
    finally:
        made.run(".venv/bin/wsgiapp down")


def checked(site: Site, block: Block, printed: Block | None) -> tuple[str, str]:
    """What a command prints, and how that differs from what is shown, once it has settled."""
    only_looks = block.text.startswith("grep")
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        try:
            output = site.as_installed(site.run(block.text))
            differs = difference(printed.text, output, printed.language) if printed else ""
        except CommandFailed as failure:
            if not only_looks or time.monotonic() > deadline:
                raise
            output, differs = "", str(failure)
        # What only looks may have looked too early.
        if not differs or not only_looks or time.monotonic() > deadline:
            return output, differs
        time.sleep(0.5)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_documents(site: Site) -> None:
    """The English ones: test_pages.py shows that the others have the same blocks."""
    wrong: list[str] = []
    for page in pages(REPOSITORY, "en"):
        text = page.read_text(encoding="utf-8")
        printed = list(_done(site, page, text, wrong))
        if REFRESH:
            _rewrite(page, [(block.start, block.end, output) for block, output in printed])
            _copy_blocks(page, translation(page))
    assert not wrong, "\n\n".join(wrong)


def _done(site: Site, page: Path, text: str, wrong: list[str]) -> Iterator[tuple[Block, str]]:
    """Do what a page says; the blocks of what was printed, as they would be shown."""
    for block, printed in steps(text):
        if block.not_run:
            continue
        if block.file:
            site.write(block.file, block.text)
            continue
        output, differs = checked(site, block, printed)
        if printed is not None:
            yield printed, output.rstrip("\n") + "\n"
        if differs and not REFRESH:
            wrong.append(f"{page.relative_to(REPOSITORY)}:{block.line}: {block.text}{differs}")


def _rewrite(page: Path, replacements: list[tuple[int, int, str]]) -> None:
    text = page.read_text(encoding="utf-8")
    for start, end, new in reversed(replacements):
        text = text[:start] + new + text[end:]
    page.write_text(text, encoding="utf-8")


def _copy_blocks(english: Path, other: Path) -> None:
    """Show in a translation what the English page shows as printed."""
    shown, here = (blocks(page.read_text(encoding="utf-8")) for page in (english, other))
    pairs = zip(shown, here, strict=True)
    _rewrite(other, [(old.start, old.end, new.text) for new, old in pairs if new.language in PRINTED])


def test_few_commands_are_not_run() -> None:
    found = [step for page in pages(REPOSITORY, "en") for step, _ in steps(page.read_text(encoding="utf-8"))]
    commands = [block for block in found if block.is_command]
    not_run = [block for block in commands if block.not_run]
    listing = "\n".join(f"not run, {block.not_run}: {block.text.strip()}" for block in not_run)
    assert len(not_run) <= 10, listing
    assert len(commands) - len(not_run) >= 30, listing


def test_the_picture_is_what_the_model_answers(site: Site) -> None:
    """The demo models are trained on each machine, so that masks are alike and not equal."""
    shown = REPOSITORY / "docs/images/coffee-mask.png"
    photograph = (REPOSITORY / "docs/images/coffee.jpg").read_bytes()
    answer = fetch(f"{site.stack.url}/cv_sod/predict", photograph, Content_Type="image/jpeg", Accept="image/png")
    assert answer.headers["Content-Type"] == "image/png"
    if REFRESH:
        shown.write_bytes(answer.body)
    documented, answered = (_grey_levels(each) for each in (shown.read_bytes(), answer.body))
    assert documented.shape == answered.shape
    assert np.corrcoef(documented.ravel(), answered.ravel())[0, 1] > MIN_CORRELATION


def _grey_levels(png: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)
