"""`make sbom`: what the service is made of, as a CycloneDX file: `python scripts/sbom.py OUT`.

Only what it runs with is listed, with the versions in this environment; tools of tests and of style are not.
"""

import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = "wsgiapp"


def runtime_packages(root: str = ROOT) -> set[str]:
    """The normalized names of `root` and of all that it requires, without extras, as far as it is installed."""
    found: set[str] = set()
    waiting = [(canonicalize_name(root), "")]
    while waiting:
        name, extra = waiting.pop()
        try:
            required = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue
        found.add(name)
        for requirement in map(Requirement, required):
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                wanted = canonicalize_name(requirement.name)
                waiting += [(wanted, each) for each in ("", *requirement.extras) if each or wanted not in found]
    return found


def reduced(document: dict[str, Any], packages: set[str]) -> dict[str, Any]:
    """The document with these packages alone, and the service as what it is about."""
    kept = [each for each in document["components"] if canonicalize_name(each["name"]) in packages]
    references = {each["bom-ref"] for each in kept}
    root = next(each for each in kept if each["name"] == ROOT)
    root.pop("externalReferences", None)  # a path of this machine
    document["metadata"]["component"] = {**root, "type": "application"}
    document["components"] = [each for each in kept if each is not root]
    document["dependencies"] = [
        {**each, "dependsOn": [ref for ref in each.get("dependsOn", []) if ref in references]}
        for each in document["dependencies"]
        if each["ref"] in references
    ]
    return document


def main(out: Path) -> None:
    """Write the file."""
    program = Path(sys.executable).with_name("cyclonedx-py")
    made = subprocess.run(
        [program, "environment", "--output-reproducible", sys.executable], check=True, capture_output=True, text=True
    )
    document = reduced(json.loads(made.stdout), runtime_packages())
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    print(f"{out}: {len(document['components'])} packages")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
