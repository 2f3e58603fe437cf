"""Read the files of a training corpus: the demo's own clause files, and a user's segmented comments.

A clause file is UTF-8 text. A line that starts with `#` names the domain, `[section]` opens a section, every other
line is one clause; `{a|b|c}` in a clause stands for any one of its alternatives (an empty one is allowed).

    [pos] [neg] [neu]   clauses of that polarity
    [aspects]           subjects | good | bad | good phrases | bad phrases   (words split by spaces; the phrases of the
                        last two columns take neither a degree word nor a negation)
    other sections      plain word lists, split by spaces; `common.txt`, `words.txt` and `patterns.txt` hold those
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, field
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
SHARED_FILES = ("common.txt", "words.txt", "patterns.txt")
HELD_OUT_FILE = "heldout.tsv"
SHORT_FILE = "short.tsv"
POLARITIES = ("pos", "neg", "neu")

_BRACES = re.compile(r"\{([^{}]*)\}")


class CorpusError(ValueError):
    """A corpus file cannot be used; the message names the file and the line."""


@dataclass(frozen=True)
class Aspect:
    """Things one judges alike, and the words to judge them with."""

    subjects: list[str]
    good: list[str]
    bad: list[str]
    good_phrases: list[str]
    bad_phrases: list[str]


@dataclass
class ClauseFile:
    """One parsed clause file; `clauses` holds lines as written, alternatives not yet expanded."""

    name: str
    clauses: dict[str, list[str]] = field(default_factory=lambda: {polarity: [] for polarity in POLARITIES})
    aspects: list[Aspect] = field(default_factory=list)
    words: dict[str, list[str]] = field(default_factory=dict)

    def add(self, section: str, line: str) -> None:
        """Store one line of `section`; a ValueError says what is wrong with it."""
        if section in POLARITIES:
            if not balanced(line):
                raise ValueError("a brace is not closed, or is nested")
            self.clauses[section].append(line)
        elif section == "aspects":
            columns = [column.split() for column in line.split("|")]
            if len(columns) != 5 or not columns[0]:
                raise ValueError(f"an aspect has 5 columns split by '|', this line has {len(columns)}")
            self.aspects.append(Aspect(*columns))
        else:
            self.words.setdefault(section, []).extend(line.split())


def balanced(line: str) -> bool:
    """True if the braces of a clause pair up and are not nested."""
    return not re.search(r"[{}]", _BRACES.sub("", line))


def alternatives(line: str) -> list[list[str]]:
    """What may stand at each place of a line: `{a|b}c` -> `[["a", "b"], ["c"]]`."""
    parts = _BRACES.split(line)
    return [part.split("|") if index % 2 else [part] for index, part in enumerate(parts) if part or index % 2]


def expand(line: str) -> list[str]:
    """All clauses a line with alternatives stands for: `{a|b}c` -> `ac`, `bc`."""
    return ["".join(choice) for choice in itertools.product(*alternatives(line))]


def read_clause_file(path: Path) -> ClauseFile:
    """Parse one clause file; raises CorpusError with file and line."""
    parsed = ClauseFile(path.stem)
    section = ""
    for number, line in enumerate(read_lines(path), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1]
            continue
        if not section:
            raise CorpusError(f"{path}, line {number}: stands before the first [section]")
        try:
            parsed.add(section, line)
        except ValueError as exc:
            raise CorpusError(f"{path}, line {number}: {exc}") from exc
    return parsed


def read_domains(folder: Path = FOLDER) -> list[ClauseFile]:
    """The domain files of a folder in the order of their names (hotel, food, ...), without the shared ones."""
    paths = sorted(path for path in folder.glob("*.txt") if path.name not in SHARED_FILES)
    return [read_clause_file(path) for path in paths]


def read_shared(folder: Path = FOLDER) -> ClauseFile:
    """The shared files as one: clauses that fit any domain, connecting words, the lists of good and bad words."""
    merged = ClauseFile("shared")
    for name in SHARED_FILES:
        parsed = read_clause_file(folder / name)
        merged.words.update(parsed.words)
        for polarity in POLARITIES:
            merged.clauses[polarity] += parsed.clauses[polarity]
    return merged


def read_held_out(path: Path = FOLDER / HELD_OUT_FILE) -> list[tuple[str, str]]:
    """(text, label) of what is kept out of training; one `LABEL<tab>text` a line."""
    rows = []
    for number, line in enumerate(read_lines(path), 1):
        label, tab, text = line.partition("\t")
        if not tab or not text.strip():
            raise CorpusError(f"{path}, line {number}: not LABEL<tab>text")
        rows.append((text.strip(), label))
    return rows


def read_segmented(comments_path: Path, labels_path: Path) -> tuple[list[list[str]], list[str]]:
    """A user's corpus: one comment a line, words split by spaces; one label a line. Raises CorpusError."""
    comments = [line.split() for line in read_lines(comments_path)]
    labels = [line.strip() for line in read_lines(labels_path)]
    if len(comments) != len(labels):
        short, long = sorted([(len(comments), comments_path), (len(labels), labels_path)], key=lambda pair: pair[0])
        raise CorpusError(f"{short[1]} ends after line {short[0]}, but {long[1]} has {long[0]} lines")
    for path, rows in ((comments_path, comments), (labels_path, labels)):
        for number, row in enumerate(rows, 1):
            if not row:
                raise CorpusError(f"{path}, line {number}: is empty")
    if len(set(labels)) < 2:
        raise CorpusError(f"{labels_path}, line {len(labels)}: the file ends with fewer than two different labels")
    return comments, labels


def read_lines(path: Path) -> list[str]:
    """The lines of a UTF-8 file (a byte order mark is skipped); raises CorpusError with the line that is not UTF-8."""
    try:
        data = path.read_bytes()
    except OSError as exc:
        raise CorpusError(f"{path}: cannot be read: {exc.strerror}") from exc
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        number = data.count(b"\n", 0, exc.start) + 1
        raise CorpusError(f"{path}, line {number}: is not UTF-8 (byte 0x{data[exc.start]:02x})") from exc
    # not splitlines(): it also breaks at U+2028 and the like, which would shift every line number after
    return text.removesuffix("\n").replace("\r\n", "\n").split("\n") if text else []
