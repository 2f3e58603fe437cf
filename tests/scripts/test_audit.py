"""`make audit` never takes silence for a clean answer, and `make sbom` lists what the service runs with."""

import pytest

import audit
import sbom

CLEAN = {"name": "a", "version": "1", "vulns": []}
VULNERABLE = {"name": "b", "version": "2", "vulns": [{"id": "CVE-1", "fix_versions": ["3"]}]}
SKIPPED = {"name": "c", "skip_reason": "Dependency not found"}


@pytest.mark.parametrize(
    ("packages", "status", "words"),
    [
        ([CLEAN], audit.CLEAN, "1 packages were asked about"),
        ([CLEAN, VULNERABLE, SKIPPED], audit.VULNERABLE, "b 2: CVE-1, mended in 3"),
        ([CLEAN, SKIPPED], audit.NOT_ASKED, "1 of 2 packages could not be asked about: c"),
    ],
)
def test_what_pip_audit_says(packages: list[dict[str, object]], status: int, words: str) -> None:
    found, lines = audit.report({"dependencies": packages})
    assert (found, any(words in line for line in lines)) == (status, True)


def test_runtime_packages_are_those_that_the_service_imports() -> None:
    packages = sbom.runtime_packages()
    assert {"wsgiapp", "gevent", "greenlet", "tensorflow", "werkzeug", "markupsafe", "grpcio"} <= packages
    assert not packages & {"pytest", "ruff", "mypy", "playwright", "coverage", "gunicorn"}


def test_the_document_has_no_tools_of_tests_and_no_path_of_a_machine() -> None:
    names = ("wsgiapp", "gevent", "Werkzeug", "pytest")
    components = [{"name": name, "bom-ref": f"{name}==1", "externalReferences": ["file:///a"]} for name in names[:1]]
    components += [{"name": name, "bom-ref": f"{name}==1"} for name in names[1:]]
    graph = [
        {"ref": "wsgiapp==1", "dependsOn": ["gevent==1", "Werkzeug==1", "pytest==1"]},
        {"ref": "gevent==1"},
        {"ref": "pytest==1"},
    ]
    document = {"metadata": {}, "components": components, "dependencies": graph}
    made = sbom.reduced(document, {"wsgiapp", "gevent", "werkzeug"})
    assert made["metadata"]["component"] == {"name": "wsgiapp", "bom-ref": "wsgiapp==1", "type": "application"}
    assert [each["name"] for each in made["components"]] == ["gevent", "Werkzeug"]
    assert made["dependencies"] == [
        {"ref": "wsgiapp==1", "dependsOn": ["gevent==1", "Werkzeug==1"]},
        {"ref": "gevent==1", "dependsOn": []},
    ]
