"""The table of faults, and the section of the documents."""

from collections import Counter
from pathlib import Path

import pytest

from bench.publish import NoSection
from chaos.faults import FAULTS
from chaos.observation import Observation
from chaos.report import BEGIN, END, PAGES, publish, terminal_report
from chaos.session import Result
from chaos.soak import Verdict

GOOD = Result(FAULTS[0], Observation(3600, Counter(), 0.02, 0.0, ""))
BAD = Result(FAULTS[1], Observation(3600, Counter({"status 502": 7}), 1.5, 2.25, "status 502: b'bad gateway'"))
NOT_RUN = Result(FAULTS[2], None, "no C compiler")


def test_the_terminal_names_what_failed() -> None:
    good, bad, not_run, sample = terminal_report([GOOD, BAD, NOT_RUN]).splitlines()[2:]
    assert good.split() == [*FAULTS[0].name.split(), "3,600", "0", "0", "0.02", "-", "kept"]
    assert bad.endswith("**missed**")
    assert "7 status 502" in bad
    assert not_run.endswith("not run: no C compiler")
    assert sample.endswith("status 502: b'bad gateway'")


def test_the_documents_get_the_table(tmp_path: Path) -> None:
    for name in PAGES.values():
        page = tmp_path / name
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n", encoding="utf-8")
    written = publish([GOOD, BAD, NOT_RUN], 400, tmp_path)
    english, chinese = (page.read_text(encoding="utf-8") for page in written)
    assert english.startswith(f"before\n{BEGIN}\nMeasured in one run at 400 texts a second")
    assert english.endswith(f"| not run: no C compiler |\n{END}\nafter\n")
    assert f"| {FAULTS[1].name_zh} | 3,600 | 7 status 502 | 0 | 1.50 | 2.25 | **未做到** |" in chinese
    assert "未运行：没有 C 编译器" in chinese


def test_a_page_without_the_section_leaves_all_as_it_was(tmp_path: Path) -> None:
    for name in PAGES.values():
        page = tmp_path / name
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text("no section\n", encoding="utf-8")
    with pytest.raises(NoSection):
        publish([GOOD], 400, tmp_path)
    assert {(tmp_path / name).read_text() for name in PAGES.values()} == {"no section\n"}


def test_a_soak_tells_promises_and_memory() -> None:
    steady = {"gateway": [100, 100, 101, 100], "model server": [500] * 4}
    assert Verdict([GOOD, NOT_RUN], steady).problems() == []
    broken, grown = Verdict([GOOD, BAD], {**steady, "gateway": [100, 110, 120, 130]}).problems()
    assert broken.startswith(FAULTS[1].name)
    assert grown.startswith("gateway grew")
