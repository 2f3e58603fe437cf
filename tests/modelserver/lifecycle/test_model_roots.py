"""Where models may be loaded from."""

from pathlib import Path

import pytest

from support.version_folders import VersionFolders
from wsgiapp.modelserver.errors import ServingError
from wsgiapp.modelserver.lifecycle.config_reloads import ConfigReloads
from wsgiapp.modelserver.lifecycle.model_roots import ModelRoots
from wsgiapp.tfserving.model_config import ModelConfig


def model(base_path: Path, name: str = "m") -> ModelConfig:
    return ModelConfig(name, base_path)


@pytest.fixture
def places(tmp_path: Path) -> Path:
    for folder in ("root/m/1", "root/store/7", "first/deep/f/1", "out/m/1"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "saved_model.pb").touch()
    return tmp_path


@pytest.fixture
def roots(places: Path) -> ModelRoots:
    return ModelRoots([places / "root"], [model(places / "first/deep/f")])


def test_base_paths_are_below_the_roots_or_beside_the_models_of_the_start(roots: ModelRoots, places: Path) -> None:
    for inside in ("root", "root/m", "root/new", "first/deep/f", "first/deep/another", "out/../root/m"):
        roots.check_base_path(model(places / inside))
    (places / "root/link").symlink_to(places / "out/m")
    for outside in ("out/m", "first/other", "rooty", "root/../out/m", "root/link"):
        with pytest.raises(ServingError, match="outside the folders that models may be loaded from") as caught:
            roots.check_base_path(model(places / outside))
        assert caught.value.code.name == "INVALID_ARGUMENT"
        assert "backend.model_roots" in str(caught.value)


def test_a_first_model_in_a_folder_of_the_root_folder_opens_no_more_than_its_own() -> None:
    roots = ModelRoots([Path("/nowhere/at/all")], [model(Path("/srv/m"))])
    roots.check_base_path(model(Path("/srv/m")))
    with pytest.raises(ServingError, match="/srv/n is outside"):
        roots.check_base_path(model(Path("/srv/n")))


def test_links_within_the_roots_are_followed_and_no_others(roots: ModelRoots, places: Path) -> None:
    (places / "root/m/2").symlink_to("../store/7")
    (places / "root/m/..data").symlink_to("../store")
    (places / "root/m/3").symlink_to("..data/7")
    for version in (1, 2, 3):
        roots.check_files(places / f"root/m/{version}")
    (places / "root/m/4").symlink_to(places / "out/m/1")
    (places / "root/m/1/assets").symlink_to("/etc")
    for version, leads in ((4, "out/m/1"), (1, "/etc")):
        with pytest.raises(ServingError, match=f"by a symbolic link to .*{leads}, ") as caught:
            roots.check_files(places / f"root/m/{version}")
        assert caught.value.code.name == "PERMISSION_DENIED"


def test_without_roots_all_is_allowed_as_by_tensorflow_serving(places: Path) -> None:
    anywhere = ModelRoots([], [model(places / "root/m")])
    anywhere.check_base_path(model(places / "out/m"))
    (places / "root/m/4").symlink_to(places / "out/m/1")
    anywhere.check_files(places / "root/m/4")


def test_a_reload_to_another_place_changes_nothing(tmp_path: Path) -> None:
    folders = VersionFolders(tmp_path)
    folders.add("in/m", 1)
    folders.add("out/m", 1)
    config = folders.config(m="")
    config.model_config_list.config[0].base_path = str(tmp_path / "in/m")
    reloads = ConfigReloads(folders.leases, folders.reconciler, roots=ModelRoots([tmp_path / "in"], []))
    reloads.start(config)
    before = type(config).FromString(config.SerializeToString())
    config.model_config_list.config[0].base_path = str(tmp_path / "out/m")
    with pytest.raises(ServingError, match=r"base_path .*/out/m is outside"):
        reloads.start(config)
    assert reloads.config == before
    assert folders.reconciler.stop(20)
