"""Write a SavedModel that takes two seconds and no processor: `python slow_model.py DIRECTORY`.

It takes words as the text model does. The delay is TensorFlow's own operation SleepDataset, so that any model server
has it.
"""

from __future__ import annotations

import sys

import tensorflow as tf
from tensorflow.python.data.experimental.ops import testing

DELAY_SECONDS = 2.0


# An element, and the end after it, are each waited for.
SLEEP_MICROSECONDS = int(DELAY_SECONDS * 1e6 / 2)
# Each copy of the operation has a thread of its own, on which calls wait for one another.
COPIES = 64


class Slow(tf.Module):
    """Answers the number of words, late."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = tf.Variable(0, dtype=tf.int32)

    @tf.function(  # type: ignore[untyped-decorator]
        input_signature=[
            tf.TensorSpec([None, None], tf.string, name="words"),
            tf.TensorSpec([None], tf.int32, name="nwords"),
        ]
    )
    def answer(self, words: tf.Tensor, nwords: tf.Tensor) -> dict[str, tf.Tensor]:
        def late() -> tf.Tensor:
            delayed = tf.data.Dataset.from_tensors(nwords).apply(testing.sleep(SLEEP_MICROSECONDS))
            return delayed.get_single_element()

        copy = self.calls.assign_add(1) % COPIES
        return {"classes_id": tf.switch_case(copy, [late] * COPIES)}


if __name__ == "__main__":
    slow = Slow()
    tf.saved_model.save(slow, sys.argv[1], signatures={"serving_default": slow.answer})
