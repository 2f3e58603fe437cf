"""`make clean` removes what make targets made, and nothing else."""

from pathlib import Path

import pytest

import made


def put(path: Path, text: str = "x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    for name in (".venv/bin/python", "wsgiapp/__pycache__/a.pyc", ".ruff_cache/x", "wsgiapp.egg-info/PKG-INFO"):
        put(folder / name)
    put(folder / "wsgiapp/app.py")
    put(folder / "conf/mine.conf")
    return folder


def trained(home: Path, name: str = "lstm") -> Path:
    directory = home / "models" / name / "1"
    put(directory / "saved_model.pb", name)
    put(directory / "variables/variables.index", name)
    made.note_model(home, directory)
    return directory


def test_all_that_was_made_goes(tmp_path: Path, repository: Path) -> None:
    home = tmp_path / "var"
    made.note_home(home)
    trained(home)
    for name in made.FOLDERS:
        put(home / name / "deep/file")
    assert made.clean(home, repository) == []
    assert not home.exists()
    assert {path.name for path in repository.rglob("*") if path.is_file()} == {"app.py", "mine.conf"}


def test_models_of_ones_own_stay_and_are_named(
    tmp_path: Path, repository: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "var"
    made.note_home(home)
    trained(home)
    second = put(home / "models/lstm/2/saved_model.pb")
    other = put(home / "notes.txt")
    monkeypatch.setattr(made, "REPOSITORY", repository)
    made.main(["clean", str(home)])
    assert not (home / "models/lstm/1").exists()
    assert second.exists() and other.exists()
    assert capsys.readouterr().out == f"left: {home}/models\nleft: {home}/notes.txt\n"


def test_a_demo_version_that_was_replaced_stays(tmp_path: Path, repository: Path) -> None:
    home = tmp_path / "var"
    made.note_home(home)
    directory = trained(home)
    (directory / "saved_model.pb").write_text("mine")
    assert made.clean(home, repository) == [home / "models"]
    assert (directory / "saved_model.pb").read_text() == "mine"


def test_what_was_there_before_stays(tmp_path: Path, repository: Path) -> None:
    home = tmp_path / "home"
    for name in ("log/mine.log", "tmp/mine", "thesis.tex"):
        put(home / name)
    made.note_home(home)
    put(home / "run/nginx.conf")
    made.note_home(home)
    assert made.clean(home, repository) == [home / "log", home / "thesis.tex", home / "tmp"]
    assert not (home / "run").exists()


def test_nothing_is_removed_where_nothing_was_noted(tmp_path: Path, repository: Path) -> None:
    home = tmp_path / "home"
    mine = put(home / "log/mine.log")
    assert made.clean(home, repository) == [home / "log"]
    assert mine.exists()
    assert made.clean(tmp_path / "nowhere", repository) == []
