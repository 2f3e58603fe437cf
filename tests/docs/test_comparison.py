"""The comparison of what is shown with what is printed finds what differs, and only that."""

import pytest

from support.documents import blocks, difference, steps

ANSWER = '{"status":0,"labels":"POS","softmax":[0.01,0.98],"request_id":"aa","rows":1}'
STATUS = "nginx   RUNNING   pid 17, uptime 0:00:25"


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        (ANSWER, ANSWER),
        (ANSWER, ANSWER.replace("0.98", "0.97").replace("aa", "bb").replace('"rows":1', '"rows":5')),
        (ANSWER, ANSWER.replace(",", ",\n  ")),
        (f"{ANSWER}\n{ANSWER}", f"{ANSWER}\n{ANSWER}\n"),
    ],
)
def test_equal_json(shown: str, printed: str) -> None:
    assert not difference(shown, printed, "json")


@pytest.mark.parametrize(
    ("old", "new", "where"),
    [
        ("0.98", "0.38", ".softmax[1]"),
        ("POS", "NEG", ".labels"),
        ('"status":0', '"status":1', ".status"),
        ('"status":0', '"status":0.0', ".status"),
        ("0.01,", "", ".softmax"),
        ('"labels"', '"label"', "labels"),
        ('"aa"', "7", ".request_id"),
    ],
)
def test_different_json(old: str, new: str, where: str) -> None:
    assert old in ANSWER
    assert where in difference(ANSWER, ANSWER.replace(old, new, 1), "json")


def test_another_number_of_documents() -> None:
    assert difference(ANSWER, f"{ANSWER}\n{ANSWER}", "json")


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        (STATUS, "nginx           RUNNING   pid 9, uptime 1 day, 0:00:25"),
        ("/srv/wsgiapp/conf/models.config: 0 errors", "/a/b-c/conf/models.config: 0 errors\n"),
        ("Server-Timing: preprocess;dur=0.15", "Server-Timing: preprocess;dur=3"),
    ],
)
def test_equal_text(shown: str, printed: str) -> None:
    assert not difference(shown, printed, "text")


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        (STATUS, STATUS.replace("RUNNING", "BACKOFF")),
        (STATUS, f"{STATUS}\n{STATUS}"),
        ("one machine  2,954.1 requests a second", "one machine  2,954.2 requests a second"),
        ("/srv/wsgiapp/conf/models.config: 0 errors", "/srv/wsgiapp/conf/models.config: 1 errors"),
    ],
)
def test_different_text(shown: str, printed: str) -> None:
    assert difference(shown, printed, "text")


def test_a_page_is_read() -> None:
    page = """
```sh
echo 1
```
```text
1
```
Then a file, and a command that is not run:

```toml conf/wsgiapp.toml
[app]
```

<!-- not run: it takes too long -->
```sh
make bench
```

Its results:

```json
{}
```
"""
    command, file, bench = steps(page)
    assert [block.info for block in blocks(page)] == [["sh"], ["text"], ["toml", "conf/wsgiapp.toml"], ["sh"], ["json"]]
    assert (command[0].text, command[0].not_run, command[0].line) == ("echo 1\n", "", 2)
    assert command[1] is not None
    assert command[1].text == "1\n"
    assert (file[0].file, file[1]) == ("conf/wsgiapp.toml", None)
    assert (bench[0].not_run, bench[1]) == ("it takes too long", None)
