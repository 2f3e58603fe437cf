"""The house as it is drawn in the documents is the house as it is."""

import re
from pathlib import Path

import pytest

from support.documents import pages, translation
from support.processes import REPOSITORY

PACKAGE = REPOSITORY / "wsgiapp"
ROW = re.compile(r"^  (?P<place>[\w./]+) +\S.*?(?:: (?P<modules>[\w/, ]+))?$", re.MULTILINE)
ARCHITECTURE = next(page for page in pages(REPOSITORY, "en") if page.stem == "architecture")


def modules(folder: Path) -> set[str]:
    """The modules of a package, and its packages with a slash behind their names."""
    files = {path.stem for path in folder.glob("*.py") if not path.stem.startswith("__")}
    return files | {f"{path.parent.name}/" for path in folder.glob("*/__init__.py")}


@pytest.mark.parametrize("page", [ARCHITECTURE, translation(ARCHITECTURE)], ids=["en", "zh"])
def test_every_module_is_drawn(page: Path) -> None:
    house = page.read_text(encoding="utf-8").partition("\nwsgiapp/\n")[2].partition("```")[0]
    drawn = {row["place"]: set((row["modules"] or "").split(", ")) - {""} for row in ROW.finditer(house)}
    assert drawn == {
        **{f"{name}.py": set() for name in modules(PACKAGE) if not name.endswith("/")},
        **{name: modules(PACKAGE / name) for name in modules(PACKAGE) if name.endswith("/")},
    }
