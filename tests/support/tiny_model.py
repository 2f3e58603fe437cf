"""Write a SavedModel of a few operations: `python tiny_model.py DIRECTORY SHIFT`.

`serving_default` answers x / 2 + SHIFT, `echo` strings, `text` counts words, and `slow` takes as long as it is told.
"""

import sys

import tensorflow as tf


class Tiny(tf.Module):
    def __init__(self, shift):
        self.half = tf.Variable(0.5)
        self.shift = tf.Variable(shift)

    @tf.function(input_signature=[tf.TensorSpec([None, 1], tf.float32, name="x")])
    def predict(self, x):
        return {"y": x * self.half + self.shift}

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.string, name="words")])
    def echo(self, words):
        return {"words": tf.identity(words), "length": tf.strings.length(words)}

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, None], tf.string, name="words"),
            tf.TensorSpec([None], tf.int32, name="nwords"),
        ]
    )
    def text(self, words, nwords):
        return {"classes_id": nwords, "shift": tf.fill(tf.shape(nwords), self.shift)}

    @tf.function(input_signature=[tf.TensorSpec([], tf.int32, name="turns")])
    def slow(self, turns):
        matrix = tf.random.stateless_uniform([400, 400], seed=[1, 2])
        for _ in tf.range(turns):
            matrix = tf.math.l2_normalize(tf.matmul(matrix, matrix))
        return {"done": tf.reduce_sum(matrix) * 0.0 + 1.0}


tiny = Tiny(float(sys.argv[2]))
tf.saved_model.save(
    tiny,
    sys.argv[1],
    signatures={"serving_default": tiny.predict, "echo": tiny.echo, "text": tiny.text, "slow": tiny.slow},
)
