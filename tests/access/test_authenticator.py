"""Whose key a text is: verified once by its slow hash, and known from then on."""

import json
import os
import shutil
import statistics
import time
from pathlib import Path

import gevent
import pytest

from support.access import Keyring, looks_again
from wsgiapp.access.secret import KEY_PREFIX, Secret, new_text, split
from wsgiapp.errors import SettingsError, Unauthenticated


@pytest.fixture
def keyring(tmp_path: Path) -> Keyring:
    return Keyring(tmp_path / "keys.json")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Keyring:
    """A file to copy."""
    made = Keyring(tmp_path_factory.mktemp("template") / "keys.json")
    made.add_key("shop")
    return made


def test_a_key_is_its_holder_s_and_no_other_text_is(keyring: Keyring) -> None:
    shop, other = keyring.add_key("shop"), keyring.add_key("other")
    known = keyring.authenticator()
    for _ in range(2):
        holder = known.holder(shop)
        assert holder is not None and holder.name == "shop"
    for wrong in (
        "",
        "x",
        shop[:-1],
        shop + "A",
        f"{shop[:17]}{other[17:]}",
        new_text(KEY_PREFIX),
        "\ud800é",
        shop.upper(),
    ):
        assert known.holder(wrong) is None


def test_the_file_has_no_secret_and_is_its_owner_s_alone(keyring: Keyring) -> None:
    text = keyring.add_key("shop")
    assert keyring.file.path.stat().st_mode & 0o777 == 0o600
    content = keyring.file.path.read_text()
    assert text not in content and text[17:] not in content
    fields = json.loads(content)["keys"]["shop"]["secrets"][0]
    assert (len(fields["salt"]), len(fields["scrypt"]), len(fields["filter"])) == (32, 64, 4)


def test_wrong_secrets_of_a_known_id_cost_no_slow_hash(keyring: Keyring) -> None:
    """65,535 of 65,536 are told by a fast one, so that guessing cannot take the processors."""
    text = keyring.add_key("shop")
    known = keyring.authenticator()
    started = time.thread_time()
    for _ in range(200):
        assert known.holder(f"{text[:17]}{new_text(KEY_PREFIX)[17:]}") is None
    each = (time.thread_time() - started) / 200
    slow = time.thread_time()
    Secret.of(text)
    assert each < (time.thread_time() - slow) / 5


def test_a_wrong_secret_that_passes_the_filter_is_hashed_once(keyring: Keyring) -> None:
    text = keyring.add_key("shop")
    known = keyring.authenticator()
    secret = known._entries[text[4:16]].secret
    wrong = next(each for each in iter(lambda: new_text(KEY_PREFIX)[17:], None) if secret.may_be(each))
    started = time.process_time()
    assert known.holder(f"{text[:17]}{wrong}") is None
    first, started = time.process_time() - started, time.process_time()
    assert known.holder(f"{text[:17]}{wrong}") is None
    assert time.process_time() - started < first / 2
    assert known.holder(text) is not None


def test_many_that_come_at_once_with_a_new_key_wait_for_one_hash(keyring: Keyring) -> None:
    text = keyring.add_key("shop")
    known = keyring.authenticator()
    started = time.process_time()
    waiting = [gevent.spawn(known.holder, text) for _ in range(100)]
    gevent.joinall(waiting, raise_error=True)
    together = time.process_time() - started
    assert {each.value.name for each in waiting} == {"shop"}
    started = time.process_time()
    Secret.of(text)
    assert together < 20 * (time.process_time() - started)


def test_the_loop_turns_while_a_key_is_verified(keyring: Keyring) -> None:
    texts = [keyring.add_key(f"shop{number}") for number in range(10)]
    known = keyring.authenticator()
    verified = [gevent.spawn(known.holder, text) for text in texts]
    turns = 0
    while not all(each.ready() for each in verified):
        gevent.sleep(0.001)
        turns += 1
    assert all(each.value for each in verified) and turns > 3


def test_changes_of_the_file_are_seen_without_a_restart(keyring: Keyring) -> None:
    shop = keyring.add_key("shop")
    known = keyring.authenticator()
    assert known.holder(shop)
    other = keyring.add_key("other", models=["m"])
    assert known.holder(other) and known.holder(shop), "at once"
    with keyring.file.changed() as credentials:
        del credentials.keys["shop"]
    assert known.holder(shop), "within a second"
    looks_again(known)
    assert known.holder(shop) is None and known.holder(other)


@pytest.mark.parametrize(
    ("break_it", "problem"),
    [
        (lambda path: path.write_text("{"), "not JSON"),
        (lambda path: path.write_text("[" * 100_000), "not JSON"),
        (lambda path: path.write_text("[]"), "not a file of keys and tokens"),
        (lambda path: path.chmod(0o640), "chmod 600"),
        (lambda path: path.unlink(), "it is missing"),
        (lambda path: rewrite(path, rate=-1), "keys.shop: rate: not a number from 0"),
        (lambda path: rewrite(path, rate=1e-9), "keys.shop: rate: neither 0 nor at least 0.001"),
        (lambda path: rewrite(path, row=2**30), "keys.shop: row: not a whole number"),
        (lambda path: rewrite(path, burst=True), "keys.shop: burst: not a whole number"),
        (lambda path: rewrite(path, models="m"), "keys.shop: models: not a list of names"),
        (lambda path: rewrite(path, priority="high"), "keys.shop: priority: not normal or batch"),
        (lambda path: rewrite(path, expires="soon"), "keys.shop: expires: not a date"),
        (lambda path: rewrite(path, secrets=[{"id": 1}]), "keys.shop: a secret needs"),
        (lambda path: rewrite(path, secrets={}), "keys.shop: secrets: not a list"),
        (lambda path: rewrite(path, quota=5), "keys.shop: quota: no such field"),
    ],
)
def test_a_broken_file_leaves_the_keys_from_before(
    template: Keyring, tmp_path: Path, caplog: pytest.LogCaptureFixture, break_it: object, problem: str
) -> None:
    shutil.copy2(template.file.path, tmp_path)
    keyring, text = Keyring(tmp_path / "keys.json"), template.texts["shop"]
    known = keyring.authenticator()
    assert callable(break_it)
    break_it(keyring.file.path)
    looks_again(known)
    assert set(known.credentials.keys) == {"shop"} and known.holder("wsk_") is None
    (record,) = caplog.records
    assert problem in record.getMessage()
    assert text[17:] not in caplog.text
    if keyring.file.path.exists():
        with pytest.raises(SettingsError, match=r"keys\.json"):
            keyring.authenticator()


def rewrite(path: Path, **fields: object) -> None:
    document = json.loads(path.read_text())
    document["keys"]["shop"].update(fields)
    path.write_text(json.dumps(document))


def test_what_has_an_end_ends(keyring: Keyring) -> None:
    today, yesterday = (time.strftime("%Y-%m-%d", time.gmtime(time.time() - ago)) for ago in (0, 86400))
    old, new = keyring.add_key("old", expires=yesterday), keyring.add_key("new", expires=today)
    known = keyring.authenticator()
    assert known.holder(new) is not None
    with pytest.raises(Unauthenticated, match=f"'old' expired on {yesterday}"):
        known.holder(old)


def test_a_file_that_is_being_written_is_never_seen_in_part(keyring: Keyring) -> None:
    """It is replaced whole; who is killed in between leaves the old one, and no lock."""
    keyring.add_key("shop")
    before = keyring.file.path.read_text()
    child = os.fork()
    if child == 0:
        with keyring.file.changed() as credentials:
            credentials.keys.clear()
            os._exit(1)
    os.waitpid(child, 0)
    assert keyring.file.path.read_text() == before
    keyring.add_key("other")
    assert set(keyring.file.read().keys) == {"shop", "other"}


def test_a_known_key_takes_microseconds(keyring: Keyring) -> None:
    text = keyring.add_key("shop")
    known = keyring.authenticator()
    known.holder(text)

    def seconds(function: object, *arguments: str) -> float:
        assert callable(function)
        started = time.thread_time()
        for _ in range(2000):
            function(*arguments)
        return time.thread_time() - started

    ratios = [seconds(known.holder, text) / seconds(split, text) for _ in range(5)]
    assert statistics.median(ratios) < 20
