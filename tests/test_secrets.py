"""No secret is in the repository: keys, tokens and passwords as they are usually written."""

import math
import re
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from support.processes import REPOSITORY

MAX_BYTES = 2**20  # of a file that is looked into

# As gitleaks' rules of the same names have them.
PATTERNS: Mapping[str, str] = {
    "private-key": r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----\s+[A-Za-z0-9+/=]{16}",
    "aws-access-token": r"\b(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}\b",
    "github-token": r"\bgh[pousr]_[A-Za-z0-9]{36}\b|\bgithub_pat_\w{82}\b",
    "gitlab-token": r"\bglpat-[\w-]{20}\b",
    "slack-token": r"\bxox[abposr]-[A-Za-z0-9-]{10,}",
    "google-api-key": r"\bAIza[\w-]{35}\b",
    "stripe-token": r"\b[rs]k_(?:test|live|prod)_[A-Za-z0-9]{10,99}\b",
    "pypi-token": r"\bpypi-AgEIcHlwaS5vcmc[\w-]{50,}",
    "jwt": r"\bey[A-Za-z0-9_-]{17,}\.ey[A-Za-z0-9_-]{17,}\.[A-Za-z0-9_-]{10,}",
    "password-in-url": r"\b[a-z][a-z0-9+.-]+://[^\s/:@'\"{}<]+:[^\s/:@'\"{}$<]{8,}@[\w.-]+",
}
ASSIGNED = re.compile(
    r"(?i)\b[\w.-]*(?:passw(?:or)?d|secret|token|api_?key|credential)[\w-]*['\"]?\s*[:=]\s*['\"](?P<value>[^'\"\s]{16,})['\"]"
)
# Bits a character: words and names have less than 3.5, random letters and digits more.
MIN_ENTROPY = 3.7


def files() -> Iterator[Path]:
    """What git knows, or would take."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    if listed.returncode:
        pytest.skip("this is no git repository")
    yield from (REPOSITORY / name for name in listed.stdout.split("\0") if name)


def findings(text: str) -> list[str]:
    """The rules that the text breaks."""
    found = [rule for rule, pattern in PATTERNS.items() if re.search(pattern, text)]
    values = (match["value"] for match in ASSIGNED.finditer(text))
    return found + ["high-entropy"] * any(re.search(r"\d", value) and entropy(value) > MIN_ENTROPY for value in values)


def entropy(text: str) -> float:
    """Shannon's, in bits a character."""
    return -sum(count / len(text) * math.log2(count / len(text)) for count in Counter(text).values())


def test_no_secret_is_in_the_repository() -> None:
    found = []
    for path in files():
        if path == Path(__file__) or not path.is_file() or path.stat().st_size > MAX_BYTES:
            continue
        text = path.read_bytes().decode("utf-8", "replace")
        found += [f"{path.relative_to(REPOSITORY)}: {rule}" for rule in findings(text)]
    assert not found


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEIIrYSSNQFaA2Hwf1duRSxKtLYX5CB04fSeQ6tF1aY/PuoAoG", "private-key"),
        ("aws = AKIA" + "Z7Q2" * 4, "aws-access-token"),
        ("ghp_" + "a1B2" * 9, "github-token"),
        ("postgres://service:s3cr3tpassw0rd@db.example/x", "password-in-url"),
        ('token = "9fK2mQ7xW4vT1bN8"', "high-entropy"),
        ('"api_key": "c2VjcmV0LTEyMzQ1Njc4OTA"', "high-entropy"),
        ('token = "a-token-of-the-test"', ""),
        ('WSGIAPP_MANAGEMENT_TOKEN: "secret"', ""),
    ],
)
def test_what_counts_as_one(text: str, rule: str) -> None:
    assert findings(text) == ([rule] if rule else [])
