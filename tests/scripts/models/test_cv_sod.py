"""The demo salient-object model, built as `make` builds it, but with a short training."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = ROOT / "scripts" / "models/cv_sod/build.py"
PHOTOS = sorted((ROOT.parent / "shared" / "data" / "photos").glob("*.jpg"))
MEAN = np.array([126.88, 120.24, 112.19], np.float32)
STEPS = 10

#: Run in a process of its own, as TensorFlow Serving is one: loads a model by the signature alone and predicts.
CLIENT = """
import json, sys
import numpy as np
import tensorflow.compat.v1 as tf
model, images, maps = sys.argv[1:]
with tf.Session(graph=tf.Graph()) as session:
    signature = tf.saved_model.load(session, ["serve"], model).signature_def["serving_default"]
    ends = {}
    for name, end in [*signature.inputs.items(), *signature.outputs.items()]:
        ends[name] = [tf.as_dtype(end.dtype).name, *(d.size for d in end.tensor_shape.dim)]
    image, result = signature.inputs["img_in"].name, signature.outputs["img_out"].name
    np.save(maps, [session.run(result, {image: one}) for one in np.load(images)])
print(json.dumps(ends))
"""


def run(*arguments: object, home: Path) -> subprocess.CompletedProcess[str]:
    """Python with `arguments`, at home in `home`."""
    environment = {**os.environ, "HOME": str(home)}
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


def tensor(rgb: np.ndarray) -> np.ndarray:
    """An RGB picture as the service sends it: nearest-resized, less the mean."""
    return (cv2.resize(rgb, (320, 320), interpolation=cv2.INTER_NEAREST).astype(np.float32) - MEAN)[None]


def disc(ground: tuple[int, int, int], colour: tuple[int, int, int], centre: tuple[int, int]) -> np.ndarray:
    """A plain disc of radius 60 on a plain ground."""
    picture = np.full((320, 320, 3), ground, np.uint8)
    return cv2.circle(picture, centre, 60, colour, -1)


def inside(centre: tuple[int, int]) -> np.ndarray:
    """The mask of that disc."""
    return cv2.circle(np.zeros((320, 320), np.uint8), centre, 60, 1, -1) > 0


DISCS = {
    "bright": ((110, 110, 110), (235, 230, 220), (160, 160)),
    "dark": ((225, 225, 230), (30, 30, 35), (160, 170)),
    "off-centre": ((90, 140, 60), (200, 60, 50), (225, 110)),
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, home: Path) -> Path:
    out = tmp_path_factory.mktemp("models") / "cv_sod" / "1"
    done = run(SCRIPT, "--out", out, "--steps", STEPS, home=home)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "written to" in done.stdout and "\r" not in done.stdout
    return out


@pytest.fixture(scope="module")
def served(model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, Any]]:
    """The signature's ends, and the maps of all test pictures, by name."""
    folder = tmp_path_factory.mktemp("client")
    pictures = {name: disc(*parts) for name, parts in DISCS.items()}
    pictures["constant"] = np.full((320, 320, 3), 77, np.uint8)
    pictures["tiny"] = np.random.default_rng(0).integers(0, 256, (4, 4, 3), np.uint8)
    for path in PHOTOS:
        pictures[path.name] = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
    np.save(folder / "images.npy", np.stack([tensor(picture) for picture in pictures.values()]))
    done = run("-c", CLIENT, model, folder / "images.npy", folder / "maps.npy", home=folder)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), dict(zip(pictures, np.load(folder / "maps.npy"), strict=True))


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """The script as a module; importing it loads no TensorFlow."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "scripts")
        return importlib.import_module("models.cv_sod.build")


def test_signature(served: tuple) -> None:
    ends, _ = served
    assert ends == {"img_in": ["float32", 1, 320, 320, 3], "img_out": ["float32", 1, 320, 320, 1]}


def test_maps_are_finite_and_between_0_and_1(served: tuple) -> None:
    for name, found in served[1].items():
        assert found.shape == (1, 320, 320, 1) and found.dtype == np.float32, name
        assert np.isfinite(found).all() and found.min() >= 0 and found.max() <= 1, name


@pytest.mark.parametrize("name", DISCS)
def test_a_disc_stands_out(served: tuple, name: str) -> None:
    found, mask = served[1][name][0, :, :, 0], inside(DISCS[name][2])
    assert found[mask].mean() > 0.3 + found[~mask].mean()


def test_a_picture_of_one_colour_has_no_object(served: tuple) -> None:
    assert served[1]["constant"].max() == 0


@pytest.mark.skipif(not PHOTOS, reason="no sample photographs here")
def test_maps_of_photographs_are_not_flat(served: tuple) -> None:
    for path in PHOTOS:
        found = served[1][path.name]
        assert found.std() > 0.03, path.name


def test_the_build_leaves_the_model_alone_behind(model: Path, home: Path) -> None:
    assert [path.name for path in model.parent.iterdir()] == ["1"]
    assert model.stat().st_mode & 0o055 == 0o055, "a model server that runs as another user must be able to read it"
    assert not list(home.iterdir()), "the build wrote to the home directory"


def test_an_existing_version_is_rejected(tmp_path: Path, home: Path) -> None:
    (tmp_path / "1").mkdir()
    done = run(SCRIPT, "--out", tmp_path / "1", home=home)
    assert done.returncode == 2 and "already there" in done.stderr
    assert [path.name for path in tmp_path.rglob("*")] == ["1"]


def test_steps_below_one_are_rejected(tmp_path: Path, home: Path) -> None:
    done = run(SCRIPT, "--out", tmp_path / "1", "--steps", 0, home=home)
    assert done.returncode == 2 and "--steps 0" in done.stderr and not list(tmp_path.iterdir())


def write(directory: Path, text: str, then: Callable[[], None] = lambda: None) -> None:
    (directory / "saved_model.pb").write_text(text)
    then()


def fail() -> None:
    raise OSError("no space left on device")


def test_a_failure_while_writing_leaves_nothing_behind(script: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="no space"), script.published(tmp_path / "1") as directory:
        write(directory, "half", fail)
    assert not list(tmp_path.iterdir())


def test_a_failure_while_replacing_keeps_the_old_version(script: ModuleType, tmp_path: Path) -> None:
    with script.published(tmp_path / "1") as directory:
        write(directory, "old")
    with pytest.raises(OSError, match="no space"), script.published(tmp_path / "1") as directory:
        write(directory, "half", fail)
    assert [path.name for path in tmp_path.iterdir()] == ["1"]
    assert (tmp_path / "1" / "saved_model.pb").read_text() == "old"


def test_replacing_puts_the_new_version_in_place(script: ModuleType, tmp_path: Path) -> None:
    for text in ("old", "new"):
        with script.published(tmp_path / "1") as directory:
            write(directory, text)
    assert [path.name for path in tmp_path.iterdir()] == ["1"]
    assert (tmp_path / "1" / "saved_model.pb").read_text() == "new"


def test_scenes_are_reproducible(script: ModuleType) -> None:
    first, again, other = (script.paint(seed, range(3)) for seed in (5, 5, 6))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], other[0])
    pictures, masks = first
    assert pictures.shape == (3, 64, 64, 3) and masks.shape == (3, 64, 64, 1)
