"""Folders of models that are loaded."""

from collections.abc import Callable

import pytest

from support.version_folders import ALL, VersionFolders, labels


@pytest.fixture
def folders(make_folders: Callable[..., VersionFolders]) -> VersionFolders:
    """One model `m` with one version."""
    made = make_folders()
    made.add("m", 1)
    made.start(m="")
    return made


@pytest.fixture
def loaded(make_folders: Callable[..., VersionFolders]) -> VersionFolders:
    """Two models, of which `a` has versions 1 and 2, all of them loaded, and `stable` is 1; and a folder `new`."""
    made = make_folders()
    for model, versions in (("a", (1, 2)), ("b", (1,)), ("new", (1, 2))):
        for version in versions:
            made.add(model, version)
    made.start(a=ALL + labels(stable=1), b="")
    return made
