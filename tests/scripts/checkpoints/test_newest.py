"""A folder means the checkpoint that its file `checkpoint` names, wherever the folder is now."""

from pathlib import Path

import pytest

from checkpoints.meta_graph import CheckpointError
from checkpoints.newest import prefix_of


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "train [1]"
    (made / "old").mkdir(parents=True)
    for name in ("model-100", "model-200", "old/model-50"):
        (made / f"{name}.index").touch()
        (made / f"{name}.data-00000-of-00001").touch()
    return made


def state(folder: Path, text: str) -> str:
    (folder / "checkpoint").write_text(text)
    return str(folder)


def named(name: object) -> str:
    """As TensorFlow writes it; the newest is not the last of all."""
    return (
        f'model_checkpoint_path: "{name}"\n'
        'all_model_checkpoint_paths: "model-100"\nall_model_checkpoint_paths: "model-200"\n'
        "all_model_checkpoint_timestamps: 1500000000.5\nlast_preserved_timestamp: 1500000000.25\n"
    )


@pytest.mark.parametrize("name", ["model-100", "model-200", "./model-100", "old/model-50"])
def test_a_relative_path_begins_at_the_folder(folder: Path, name: str) -> None:
    assert prefix_of(state(folder, named(name))) == str(folder / name)


def test_the_folder_may_be_the_working_directory(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state(folder, named("model-100"))
    monkeypatch.chdir(folder)
    assert [prefix_of("."), prefix_of("./")] == ["model-100"] * 2
    monkeypatch.chdir(folder.parent)
    assert prefix_of(f"{folder.name}/") == f"{folder.name}/model-100"


def test_an_absolute_path_is_taken_as_it_is(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/model-100.index").touch()
    assert prefix_of(state(folder, named(tmp_path / "elsewhere/model-100"))) == f"{tmp_path}/elsewhere/model-100"


@pytest.mark.parametrize("path", ["/root/train/model-100", "train/model-100", "../gone/model-100"])
def test_a_checkpoint_of_a_folder_that_was_moved_is_found_by_its_name(folder: Path, path: str) -> None:
    assert prefix_of(state(folder, named(path))) == str(folder / "model-100")


def test_the_older_format_has_no_index(folder: Path) -> None:
    (folder / "whole.ckpt").touch()
    (folder / "parts[1].ckpt-00001-of-00002").touch()
    for name in ("whole.ckpt", "parts[1].ckpt"):
        assert prefix_of(state(folder, named(name))) == str(folder / name)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("model_checkpoint_path: 'model-100'", "model-100"),
        ('  model_checkpoint_path : "m\\303\\266del"\n', "mödel"),
        ('model_checkpoint_path: "mödel"', "mödel"),
        ('model_checkpoint_path: "a\\"b"', 'a"b'),
        ('# comment\nmodel_checkpoint_path: "model-100"\nmodel_checkpoint_path: "model-200"', "model-200"),
    ],
)
def test_the_file_is_text_format(folder: Path, text: str, name: str) -> None:
    (folder / f"{name}.index").touch()
    assert prefix_of(state(folder, text)) == str(folder / name)


def test_what_is_no_folder_is_a_prefix(folder: Path) -> None:
    state(folder, named("model-200"))
    for prefix in (folder / "model-100", folder / "nothing"):
        assert prefix_of(str(prefix)) == str(prefix)
    folder.with_name(f"{folder.name}.index").touch()
    assert prefix_of(str(folder)) == str(folder), "a prefix whose name a folder has, too"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "its file checkpoint is empty"),
        (" \n", "its file checkpoint is empty"),
        ("all_model_checkpoint_paths: 'model-100'\n", "its file checkpoint names no model_checkpoint_path"),
        ('model_checkpoint_path: ""\n', "its file checkpoint names no model_checkpoint_path"),
        ('model_checkpoint_path: "model-100\n', "its file checkpoint names no model_checkpoint_path"),
        ('model_checkpoint_path: "a\\000b"\n', "its file checkpoint names no model_checkpoint_path"),
        (named("model-300"), "its file checkpoint names model-300, which is not there"),
        (
            named("/root/model-300"),
            "its file checkpoint names /root/model-300, which is neither there nor, by its name, in the folder",
        ),
        (named("/"), "its file checkpoint names /, which is neither there nor, by its name, in the folder"),
        (None, "no file checkpoint in it says which one is the newest"),
    ],
)
def test_a_file_that_names_nothing_is_an_error_that_says_what_there_is(
    folder: Path, text: str | None, problem: str
) -> None:
    if text is not None:
        state(folder, text)
    with pytest.raises(CheckpointError) as raised:
        prefix_of(str(folder))
    there = f"; name one of the checkpoints there: {folder}/model-100, {folder}/model-200"
    assert str(raised.value) == f"--checkpoint {folder}: {problem}{there}"


def test_a_folder_without_checkpoints(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=f"; there is no .index file of a checkpoint in {tmp_path}$"):
        prefix_of(str(tmp_path))
    (tmp_path / "checkpoint").mkdir()
    with pytest.raises(CheckpointError, match="its file checkpoint cannot be read: Is a directory"):
        prefix_of(str(tmp_path))
