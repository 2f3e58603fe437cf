"""`make audit`: known vulnerabilities of the versions in constraints.txt, as pip-audit finds them.

pip-audit asks Python's package index for its advisories. Behind a mirror that has none it says that nothing is known,
which is no finding: then this says what it needs, and its exit status is 2.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

CLEAN, VULNERABLE, NOT_ASKED = 0, 1, 2
NEEDED = (
    "It needs a way to the package index's own advisories, or to those of OSV: "
    "`make audit AUDIT='--vulnerability-service osv'`. Where there is neither, run it where there is: "
    "constraints.txt is all that it reads."
)


def report(answer: dict[str, Any]) -> tuple[int, list[str]]:
    """The exit status and the lines of what pip-audit found."""
    packages = answer["dependencies"]
    lines = [
        f"{package['name']} {package['version']}: {each['id']}"
        + (f", mended in {', '.join(each['fix_versions'])}" if each["fix_versions"] else "")
        for package in packages
        for each in package.get("vulns", [])
    ]
    skipped = [package["name"] for package in packages if "skip_reason" in package]
    if skipped:
        lines.append(
            f"{len(skipped)} of {len(packages)} packages could not be asked about: {', '.join(skipped[:5])} ..."
        )
        lines.append(NEEDED)
    else:
        lines.append(f"{len(packages)} packages were asked about")
    vulnerable = any(package.get("vulns") for package in packages)
    return VULNERABLE if vulnerable else NOT_ASKED if skipped else CLEAN, lines


def main(arguments: list[str]) -> int:
    """Ask about all versions; `arguments` are pip-audit's own."""
    program = str(Path(sys.executable).with_name("pip-audit"))
    command = [
        program,
        "--no-deps",
        "--disable-pip",
        "-r",
        "constraints.txt",
        "-f",
        "json",
        "--progress-spinner",
        "off",
    ]
    asked = subprocess.run([*command, *arguments], capture_output=True, text=True)
    try:
        status, lines = report(json.loads(asked.stdout))
    except ValueError:
        status, lines = NOT_ASKED, [asked.stderr.strip().splitlines()[-1] if asked.stderr.strip() else "", NEEDED]
    print("\n".join(filter(None, lines)))
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
