"""All targets."""

from __future__ import annotations

from fuzz.targets import http, pictures, text, wire
from fuzz.targets.target import Target

TARGETS: dict[str, Target] = {
    target.name: target for module in (http, text, wire, pictures) for target in module.TARGETS
}
