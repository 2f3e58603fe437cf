"""Print coverage by package; exit status 1 where one is below the minimum: coverage_by_package.py REPORT.JSON"""

import json
import sys
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

MINIMUM = 85.0  # per cent of a package's statements


def by_package(files: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
    """Covered statements and all statements, by package of `wsgiapp`; its single modules count as one."""
    totals: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for name, file in files.items():
        parts = Path(name).parts
        inner = parts[parts.index("wsgiapp") + 1 :]
        package = inner[0] if len(inner) > 1 else "app, worker, errors"
        totals[package][0] += file["summary"]["covered_lines"]
        totals[package][1] += file["summary"]["num_statements"]
    return {package: (covered, statements) for package, (covered, statements) in sorted(totals.items())}


def main(report: Path) -> int:
    """Print the table; the exit status."""
    packages = by_package(json.loads(report.read_text(encoding="utf-8"))["files"])
    print("coverage by package")
    low = []
    for package, (covered, statements) in packages.items():
        percent = 100 * covered / statements if statements else 100.0
        if percent < MINIMUM:
            low.append(package)
        print(f"  {package:20} {percent:5.1f}%  {statements:5} statements")
    if low:
        print(f"below {MINIMUM:.0f}%: {', '.join(low)}", file=sys.stderr)
    return 1 if low else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
