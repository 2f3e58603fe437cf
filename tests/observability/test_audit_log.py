"""The audit log: a line before each change and one after it, whatever happens in between."""

import json
import logging
import multiprocessing
import resource
from pathlib import Path
from typing import Any

import pytest

from wsgiapp.errors import AuditFailed, Conflict
from wsgiapp.observability import metrics
from wsgiapp.observability.audit_log import Actor, AuditLog

WHO = Actor("ci", "192.0.2.1", "r1")
MAX_BYTES = 10_000


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def change(audit: AuditLog, error: BaseException) -> None:
    with audit.change(WHO, "promote", model="m") as told:
        told["changes"] = {"m": {}}
        raise error


def test_what_ends_in_an_error_is_told_with_its_text(tmp_path: Path) -> None:
    audit = AuditLog(tmp_path, MAX_BYTES, 2)
    for error in (Conflict("another change is under way"), KeyboardInterrupt(), OSError("private words")):
        with pytest.raises(type(error)):
            change(audit, error)
    assert [line["outcome"] for line in lines(audit.path)] == ["begun", "failed"] * 3
    first, second, third = lines(audit.path)[1::2]
    assert (first["error"], first["changes"]) == ("another change is under way", {"m": {}})
    assert (second["error"], third["error"]) == ("KeyboardInterrupt", "OSError")
    assert audit.path.stat().st_mode & 0o777 == 0o640


def test_fields_are_bounded_and_one_line_each(tmp_path: Path) -> None:
    audit = AuditLog(tmp_path, 2**20, 2)
    with audit.change(WHO, "promote", model="m\n" * 10**5, label="\ud800", versions=list(range(10**4))) as told:
        told["changes"] = {str(number): "x" * 10**4 for number in range(1000)}
    begun, done = lines(audit.path)
    assert len(begun["model"]) == 203 and len(begun["versions"]) == 50
    assert len(done["changes"]) == 50
    assert audit.path.stat().st_size < 20_000


def test_where_the_line_before_cannot_be_written_nothing_is_done(tmp_path: Path) -> None:
    (tmp_path / "audit.log").mkdir()
    done = []
    with (
        pytest.raises(AuditFailed, match="nothing is changed"),
        AuditLog(tmp_path, MAX_BYTES, 2).change(WHO, "promote"),
    ):
        done.append("changed")
    assert not done


@pytest.mark.parametrize("room", [0, 20])
def test_where_the_line_after_cannot_be_written_the_process_s_log_has_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, room: int
) -> None:
    """A full disk, as a limit on the size of files makes one; there may be room for a part of the line."""
    audit = AuditLog(tmp_path, 2**20, 2)
    lost = metrics.AUDIT_LINES_LOST.labels("promote")._value.get()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        with caplog.at_level(logging.ERROR), audit.change(WHO, "promote", model="m"):
            resource.setrlimit(resource.RLIMIT_FSIZE, (audit.path.stat().st_size + room, limits[1]))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    written = audit.path.read_text().splitlines()
    assert json.loads(written[0])["outcome"] == "begun" and sum(map(len, written[1:])) == room
    assert '"outcome": "done"' in caplog.text and '"model": "m"' in caplog.text
    assert metrics.AUDIT_LINES_LOST.labels("promote")._value.get() == lost + 1
    with audit.change(WHO, "promote", model="m"):
        pass
    assert [json.loads(line)["outcome"] for line in audit.path.read_text().splitlines()[-2:]] == ["begun", "done"]


def write_many(folder: Path, name: str) -> None:
    audit = AuditLog(folder, MAX_BYTES, 50)
    for number in range(100):
        with audit.change(Actor(name), "promote", version=number):
            pass


def test_processes_write_and_rotate_it_together_and_no_line_is_lost(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("fork")
    writers = [spawn.Process(target=write_many, args=(tmp_path, f"w{number}")) for number in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    files = sorted(tmp_path.glob("audit.log*"))
    assert len(files) > 3
    written = [line for path in files for line in lines(path)]
    assert len({(line["name"], line["version"], line["outcome"]) for line in written}) == len(written) == 3 * 100 * 2


def test_no_more_than_the_backups_are_kept(tmp_path: Path) -> None:
    audit = AuditLog(tmp_path, 500, 2)
    for number in range(20):
        with audit.change(WHO, "promote", version=number):
            pass
    assert sorted(path.name for path in tmp_path.glob("audit.log*")) == ["audit.log", "audit.log.1", "audit.log.2"]
    assert lines(audit.path)[-1]["version"] == 19


def test_what_is_tried_over_and_over_is_told_when_it_succeeds(tmp_path: Path) -> None:
    audit = AuditLog(tmp_path, MAX_BYTES, 2)
    for _ in range(5):
        with pytest.raises(Conflict), audit.change(WHO, "reload", again=True):
            raise Conflict("not yet")
    with audit.change(WHO, "reload", again=True):
        pass
    assert [line["outcome"] for line in lines(audit.path)] == ["done"]


def test_a_local_user_is_told_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_USER", "ada")
    assert Actor.local().name.startswith("local:") and Actor.local().name.endswith("(sudo: ada)")
