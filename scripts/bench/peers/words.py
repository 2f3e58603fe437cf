"""Text steps that all the peers share: segmentation before the model, JSON after it."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import jieba
import orjson

jieba.setLogLevel(logging.WARNING)


def segment(line: str) -> list[str]:
    """The words of a sentence, as the demo model was trained."""
    return [word for word in jieba.lcut(line) if not word.isspace()]


def answer_json(label: str, class_id: int, softmax: Sequence[float]) -> bytes:
    """The answer to one sentence."""
    return orjson.dumps({"status": 0, "classes_id": class_id, "labels": label, "softmax": softmax})
