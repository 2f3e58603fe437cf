"""One word for one thing, and the field's: what is never written, in code, tests and documents, and what is instead."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from support.processes import REPOSITORY

ENDINGS = {".py", ".md", ".conf", ".toml", ".sh", ".config", ".ini", ""}
FOLDERS = ("wsgiapp", "tests", "scripts", "conf", "docs", ".ci")

# A pattern of what is not written -> the field's word.
REJECTED: Mapping[str, str] = {
    r"\bin force\b": "active, applied",
    r"\bg(ive|ives|ave|iven|iving) up\b": "aborted, cancelled, closed, timed out",
    r"\brefus(e|es|ed|al|als|ing)\b": "rejected, where HTTP or gRPC has the word",
    r"\b(most|MOST|largest|LARGEST|longest|LONGEST)_": "max_",
    r"\b(least|LEAST)_": "min_",
    r"(?i)\bpatien(ce|t|tly)\b": "deadline, linger",
    r"(?i)\bdepart(s|ed|ing|ure)?\b": "flush",
    r"(?i)(?<!asyncio\.)\bgather(s|ed|ing)?\b": "linger",
    r"\b(Lost|Unserved|Reset|TooLong)\b": "ConnectionLost, RequestNotProcessed, StreamReset, MessageTooLarge",
    r"(?i)\brightly\b": "protocol error: ...",
    r"\bthat is none\b": "invalid ...",
    r"\bOF_[A-Z]": "CODE_BY_STATUS, ROW_LEVEL_ERRORS",
    r"(?i)\bagreements?\b": "batch parity",
    r"(?i)\bobjections?\b": "mismatch",
    r"\.(holds|learn)\(": "is_verified, verify_soon",
    r"(?i)\bpast all pipelines\b": "bypassing the pipelines",
    r"\bclass Every\b|\bEvery\(": "PeriodicTask",
}
# The operating system's, HTTP/2's, TensorFlow's and Nginx's own words.
ALLOWED = re.compile(
    r"(?i)connections? (is |was |are )?refused|\"refused\" (not )?in|ECONNREFUSED|ConnectionRefusedError|REFUSED_STREAM"
    r"|tf\.gather|least_conn"
)


def texts() -> Iterator[Path]:
    yield from (path for path in REPOSITORY.iterdir() if path.is_file() and path.suffix in ENDINGS - {""})
    yield REPOSITORY / "Makefile"
    for folder in FOLDERS:
        for path in sorted((REPOSITORY / folder).rglob("*")):
            if path.is_file() and path.suffix in ENDINGS and path != Path(__file__):
                yield path


@pytest.mark.parametrize(("pattern", "instead"), REJECTED.items(), ids=REJECTED)
def test_the_field_s_words(pattern: str, instead: str) -> None:
    found = [
        f"{path.relative_to(REPOSITORY)}:{number}: {line.strip()}"
        for path in texts()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if re.search(pattern, ALLOWED.sub("", line))
    ]
    assert not found, f"write: {instead}\n" + "\n".join(found)
