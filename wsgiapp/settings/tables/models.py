"""The tables `[models.NAME]`: a model is added there and nowhere else."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from wsgiapp.settings.constraints import HEADER_NAME, TEXT, Range, Share
from wsgiapp.settings.declaration import MAX_SECONDS, RESTART, setting

MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
RESERVED_MODEL_NAMES = frozenset({"v1", "V1"})
MAX_VERSION = 2**63 - 1  # an Int64Value in TF Serving's ModelSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One model; `name` is the table's, its name at the model server and in the URL."""

    name: str
    pipeline: str = setting(
        "", "an entry point of the group `wsgiapp.pipelines`: `segmented_text`, `saliency`, yours", RESTART, TEXT
    )
    signature: str = setting("serving_default", "the signature to call", RESTART, TEXT)
    version: int | None = setting(None, "the version to call; not set: the newest", RESTART, Range(0, MAX_VERSION))
    label: str = setting("", "the version label to call, instead of a version", RESTART, TEXT)
    split: Mapping[str, Any] = setting(
        {},
        "shares of clients by label instead of one label, as `{ stable = 95, canary = 5 }`; a client keeps its label",
        RESTART,
        Share(),
    )
    split_key: str = setting(
        "",
        "header that identifies a client for the split; empty, or not sent: the client's address",
        RESTART,
        HEADER_NAME,
    )
    deadline_seconds: float = setting(
        10.0,
        "seconds for a prediction, waiting and retries included; then the client gets 504; its `X-Request-Timeout` may "
        "only be shorter",
        RESTART,
        Range(0.001, MAX_SECONDS),
    )
    share: float = setting(
        1.0,
        "weight against the other models: so much of `limits.inflight` is kept free for this one, and borrowed while "
        "it is idle",
        RESTART,
        Range(0.001, 1_000_000),
    )
    batching: bool = setting(
        True,
        "requests that wait at the same moment share a call, once a version's batched answers were seen to equal its "
        "single ones",
        RESTART,
    )
    max_batch_size: int = setting(64, "rows of a shared call", RESTART, Range(1))
    max_inflight: int = setting(
        1,
        "shared calls a worker has in flight at a time; the fewer, the more requests share one",
        RESTART,
        Range(1),
    )
    max_single_calls: int = setting(
        4,
        "calls of single requests a worker has in flight at a time, where they do not share calls; with two workers "
        "half of the model server's 16 threads, so that a slow model leaves the others their part",
        RESTART,
        Range(1),
    )
    options: Mapping[str, Any] = setting({}, "the pipeline's own options", RESTART)
