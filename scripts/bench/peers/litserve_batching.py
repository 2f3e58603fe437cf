"""LitServe with TensorFlow in its worker processes and its own batching: requests that come together share a run.

`python -m bench.peers.litserve_batching PORT MODELS`
"""

# Without "from __future__ import annotations": LitServe looks at the methods' annotations while it runs.
import sys
from typing import Any

import litserve
from fastapi import Request

from bench.peers import words

# Tried on 2 cores with 32 and 128 connections (measured, answers a second): 64 rows and 10 ms 596 and 603; 32 rows and
# 2 ms 518 and 385, 5 ms 327 and 356, 20 ms 299 and 371; two workers with 5 ms 351 and 387. It always waits its time
# out, so one connection alone gets 111 with 2 ms and 67 with 10 ms.
MAX_BATCH = 64
BATCH_SECONDS = 0.010
WORKERS = 1


class Sentiment(litserve.LitAPI):
    """The demo model `lstm`, in this process."""

    def __init__(self, folder: str) -> None:
        super().__init__(max_batch_size=MAX_BATCH, batch_timeout=BATCH_SECONDS, api_path="/lstm/predict")
        self._folder = folder

    def setup(self, device: str) -> None:
        """Load the model, once in each worker."""
        import tensorflow as tf

        words.segment("预热")
        self._loaded = tf.saved_model.load(self._folder)
        self._model = self._loaded.signatures["serving_default"]
        self._constant = tf.constant

    def decode_request(self, request: Request) -> list[str]:
        """The words of one sentence. So annotated, LitServe hands over what the body's JSON says."""
        return words.segment(request["line"])

    def batch(self, inputs: list[list[str]]) -> list[list[str]]:
        """Rows stay lists until `predict` pads them."""
        return inputs

    def predict(self, rows: list[list[str]]) -> list[dict[str, Any]]:
        """One run for all rows, padded to the longest."""
        longest = max(map(len, rows))
        padded = [row + [""] * (longest - len(row)) for row in rows]
        outputs = self._model(words=self._constant(padded), nwords=self._constant([len(row) for row in rows]))
        columns = zip(
            outputs["classes_id"].numpy().tolist(),
            outputs["labels"].numpy().tolist(),
            outputs["softmax"].numpy().tolist(),
            strict=True,
        )
        return [{"status": 0, "classes_id": i, "labels": label.decode(), "softmax": row} for i, label, row in columns]

    def unbatch(self, output: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """One answer a row."""
        return output

    def encode_response(self, output: dict[str, Any]) -> dict[str, Any]:
        """As JSON."""
        return output


if __name__ == "__main__":
    server = litserve.LitServer(
        Sentiment(f"{sys.argv[2]}/lstm/1"), accelerator="cpu", workers_per_device=WORKERS, fast_queue=True
    )
    server.run(
        host="127.0.0.1",
        port=int(sys.argv[1]),
        generate_client_file=False,
        log_level="warning",
        access_log=False,
    )
