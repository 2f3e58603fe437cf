"""Coverage is summed up by package, and too little of it is an error."""

import json
from pathlib import Path

import pytest

import coverage_by_package


def write(path: Path, covered: int) -> Path:
    def file(lines: int, statements: int) -> dict[str, dict[str, int]]:
        return {"summary": {"covered_lines": lines, "num_statements": statements}}

    files = {
        "wsgiapp/app.py": file(9, 10),
        "wsgiapp/worker.py": file(10, 10),
        "wsgiapp/web/request.py": file(covered, 100),
        "/somewhere/wsgiapp/web/views/predict.py": file(100, 100),
        "wsgiapp/web/__init__.py": file(0, 0),
    }
    path.write_text(json.dumps({"files": files}))
    return path


@pytest.mark.parametrize(("covered", "status"), [(70, 0), (69, 1)])
def test_a_package_below_the_minimum(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], covered: int, status: int
) -> None:
    assert coverage_by_package.main(write(tmp_path / "report.json", covered)) == status
    printed = capsys.readouterr()
    assert "app, worker, errors   95.0%     20 statements" in printed.out
    assert f"web {' ' * 16} {(covered + 100) / 2:5.1f}%" in printed.out
    assert printed.err == ("" if status == 0 else "below 85%: web\n")
