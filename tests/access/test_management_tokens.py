"""Who may manage the models."""

from pathlib import Path

import pytest

from support.access import Keyring
from wsgiapp.access.guess_throttle import GuessThrottle
from wsgiapp.access.management_tokens import ManagementTokens
from wsgiapp.errors import PermissionDenied, RateLimited, Unauthenticated


def tokens(folder: Path, setting: str = "secret") -> ManagementTokens:
    return ManagementTokens(setting, Keyring(folder / "keys.json").authenticator(), GuessThrottle(folder / "counts"))


def test_the_setting_s_token_may_do_everything(tmp_path: Path) -> None:
    known = tokens(tmp_path)
    for scope in ("read", "promote", "replace"):
        assert known.authorize("secret", scope, "192.0.2.1") == "management.token"
    for number, wrong in enumerate(("", "Secret", "secret2", "\udcff", "é", "secret\0")):
        with pytest.raises(Unauthenticated):
            known.authorize(wrong, "read", f"192.0.2.{number}")


def test_none_at_all_is_no_guess(tmp_path: Path) -> None:
    known = tokens(tmp_path)
    for _ in range(50):
        with pytest.raises(Unauthenticated):
            known.authorize("", "read", "192.0.2.1")
    assert known.authorize("secret", "read", "192.0.2.1")


def test_an_empty_setting_is_no_token(tmp_path: Path) -> None:
    with pytest.raises(PermissionDenied, match="is empty"):
        tokens(tmp_path, "").authorize("", "read", "192.0.2.1")
    Keyring(tmp_path / "keys.json").add_token("ci", "read")
    with pytest.raises(Unauthenticated):
        tokens(tmp_path, "").authorize("", "read", "192.0.2.1")


def test_guesses_of_the_setting_s_token_end(tmp_path: Path) -> None:
    ci = Keyring(tmp_path / "keys.json").add_token("ci", "read")
    known = tokens(tmp_path)
    for number in range(10):
        with pytest.raises(Unauthenticated):
            known.authorize(f"guess{number}", "read", "192.0.2.1")
    for text in ("guess", "secret"):
        with pytest.raises(RateLimited):
            known.authorize(text, "read", "192.0.2.1")
    assert known.authorize(ci, "read", "192.0.2.1") == "ci"
    assert known.authorize("secret", "read", "192.0.2.2") == "management.token"
