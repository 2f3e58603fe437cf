"""`wsgiapp keys` and `wsgiapp tokens`: what is printed once, what is kept, and what is said of mistakes."""

import json
from pathlib import Path

import pytest

from wsgiapp.access.authenticator import Authenticator
from wsgiapp.access.counts import Counts
from wsgiapp.access.credentials_file import CredentialsFile
from wsgiapp.access.secret import TEXT
from wsgiapp.cli.__main__ import main
from wsgiapp.errors import Unauthenticated


class Shell:
    def __init__(self, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.home = home
        self._capsys = capsys

    def run(self, *arguments: str, status: int = 0) -> str:
        assert main(list(arguments)) == status
        captured = self._capsys.readouterr()
        return captured.err if status else captured.out

    def whose(self, text: str) -> str:
        holder = Authenticator(CredentialsFile(self.home / "access/keys.json")).holder(text.strip())
        return holder.name if holder else ""


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    monkeypatch.setenv("WSGIAPP_HOME", str(tmp_path))
    return Shell(tmp_path, capsys)


def test_a_key_s_life(shell: Shell) -> None:
    limits = ["--model", "lstm", "--model", "cv_sod", "--rate", "50", "--daily-quota", "1000", "--priority", "batch"]
    text = shell.run("keys", "add", "shop", *limits, "--expires", "2999-12-31")
    assert TEXT.fullmatch(text.strip()) and text.startswith("wsk_")
    assert shell.whose(text) == "shop"
    Counts(shell.home / "access/keys.counts", 2).add(1)
    heading, row = shell.run("keys", "list").splitlines()
    assert row.split() == ["shop", "cv_sod,lstm", "50/s", "100", "1", "1000", "batch", "2999-12-31"]
    assert len(heading.split()) == 8
    rotated = shell.run("keys", "rotate", "shop")
    assert (shell.whose(text), shell.whose(rotated)) == ("", "shop")
    overlapping = shell.run("keys", "rotate", "shop", "--grace", "600")
    assert (shell.whose(rotated), shell.whose(overlapping)) == ("shop", "shop")
    document = json.loads((shell.home / "access/keys.json").read_text())
    document["keys"]["shop"]["secrets"][0]["until"] = 1.0
    (shell.home / "access/keys.json").write_text(json.dumps(document))
    with pytest.raises(Unauthenticated, match="was replaced by a newer one"):
        shell.whose(rotated)
    assert shell.run("keys", "revoke", "shop") == "shop is revoked\n"
    assert shell.whose(overlapping) == ""
    shell.run("keys", "add", "shop")
    assert shell.run("keys", "list").splitlines()[1].split()[:5] == ["shop", "all", "-", "-", "0"], "a count of its own"


def test_a_token_s_life(shell: Shell) -> None:
    text = shell.run("tokens", "add", "ci", "--scope", "promote", "--scope", "read")
    assert text.startswith("wst_") and shell.whose(text) == "ci"
    assert shell.run("tokens", "list").splitlines()[1].split() == ["ci", "promote,read", "-"]
    shell.run("tokens", "revoke", "ci")
    assert shell.whose(text) == ""


def test_changes_are_audited_and_say_no_secret(shell: Shell) -> None:
    text = shell.run("keys", "add", "shop").strip()
    shell.run("keys", "revoke", "shop")
    lines = [json.loads(line) for line in (shell.home / "log/audit.log").read_text().splitlines()]
    told = [(line["action"], line["holder"], line["outcome"]) for line in lines]
    assert told == [("keys add", "shop", "begun"), ("keys add", "shop", "done")] + [
        ("keys revoke", "shop", outcome) for outcome in ("begun", "done")
    ]
    assert {line["name"].partition(":")[0] for line in lines} == {"local"}
    for path in shell.home.rglob("*"):
        assert path.is_dir() or text[17:].encode() not in path.read_bytes()
        assert path.is_dir() or path.stat().st_mode & 0o007 == 0, "nothing for others"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["keys", "add", "a b"], "a b: not a name"),
        (["keys", "add", "a", "--rate", "nan"], "a: rate: not a number from 0"),
        (["keys", "add", "a", "--rate", "-1"], "a: rate: not a number from 0"),
        (["keys", "add", "a", "--burst", "0"], "a: burst: not a whole number from 1"),
        (["keys", "add", "a", "--daily-quota", "-1"], "a: daily_quota: not a whole number from 0"),
        (["keys", "add", "a", "--expires", "tomorrow"], "a: expires: not a date like 2027-12-31"),
        (["keys", "revoke", "a"], "keys: no 'a'; there are none"),
        (["keys", "rotate", "a", "--grace", "nan"], "--grace nan: not between 0 and"),
        (["tokens", "rotate", "a"], "tokens: no 'a'; there are none"),
    ],
)
def test_mistakes(shell: Shell, arguments: list[str], message: str) -> None:
    printed = shell.run(*arguments, status=1)
    assert message in printed and "Traceback" not in printed
    assert not (shell.home / "access/keys.json").exists()


def test_a_name_that_is_taken(shell: Shell) -> None:
    text = shell.run("keys", "add", "shop")
    assert "'shop' is there already; `rotate` gives it a new secret" in shell.run("keys", "add", "shop", status=1)
    assert shell.whose(text) == "shop"
