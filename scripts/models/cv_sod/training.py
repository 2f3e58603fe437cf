"""How the network of `cv_sod` learns: its loss, its optimiser, the batches of scenes it sees.

No function here or in the network branches on a tensor, so none needs AutoGraph, which takes seconds to read them.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from concurrent.futures import Future

import numpy as np
import tensorflow as tf

from models.cv_sod.cues import cues
from models.cv_sod.network import Network

#: The highest learning rate.
PEAK = 3e-3


def loss(logits: tf.Tensor, masks: tf.Tensor) -> tf.Tensor:
    """Cross entropy plus a soft intersection over union, which weighs small objects like large ones.

    Both after Qin et al., "BASNet: Boundary-Aware Salient Object Detection" (CVPR 2019).
    """
    entropy = tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(labels=masks, logits=logits))
    chance = tf.sigmoid(logits)
    common = tf.reduce_sum(chance * masks, [1, 2, 3])
    union = tf.reduce_sum(chance + masks, [1, 2, 3]) - common
    return 2 * entropy + tf.reduce_mean(1 - (common + 1) / (union + 1))


class Trainer:
    """Adam (Kingma & Ba 2015) with weight decay, one cycle of the learning rate."""

    def __init__(self, network: Network, steps: int) -> None:
        self.network, self.steps = network, steps
        self.variables = list(network.weights.values())
        self.moments = [(tf.Variable(tf.zeros_like(v)), tf.Variable(tf.zeros_like(v))) for v in self.variables]
        self.update = tf.function(self._update, autograph=False)

    def rate(self, step: int) -> float:
        """Up over the first tenth, then down along a cosine (Smith & Topin 2018)."""
        warm = max(1, self.steps // 10)
        if step < warm:
            return PEAK * (step + 1) / warm
        return PEAK * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, self.steps - warm)))

    def _update(
        self,
        pictures: tf.Tensor,
        cue: tf.Tensor,
        masks: tf.Tensor,
        rate: tf.Tensor,
        power1: tf.Tensor,
        power2: tf.Tensor,
    ) -> tf.Tensor:
        with tf.GradientTape() as tape:
            value = loss(self.network(pictures, cue, training=True), masks)
        slopes = tape.gradient(value, self.variables)
        for variable, slope, (first, second) in zip(self.variables, slopes, self.moments, strict=True):
            tf.raw_ops.ResourceApplyAdam(
                var=variable.handle, m=first.handle, v=second.handle, beta1_power=power1, beta2_power=power2,
                lr=rate, beta1=0.9, beta2=0.99, epsilon=1e-7, grad=slope,
            )  # fmt: skip
            variable.assign_sub(variable * (rate * 0.01))
        return value

    def step(self, number: int, pictures: np.ndarray, cue: np.ndarray, masks: np.ndarray) -> float:
        powers = (0.9 ** (number + 1), 0.99 ** (number + 1))
        scalars = [tf.constant(x, tf.float32) for x in (self.rate(number), *powers)]
        return float(self.update(pictures, cue, masks, *scalars))


def with_cues(portions: list[Future], show: Callable[..., None]) -> list[np.ndarray]:
    """All painted scenes: uint8 pictures, float16 cues, uint8 masks. `paint` tells the shapes and `cues` theirs."""
    find = tf.function(lambda rgb: tf.cast(cues(tf.cast(rgb, tf.float32) / 255), tf.float16), autograph=False)
    sets = []
    for number, portion in enumerate(portions):
        pictures, masks = portion.result()
        found = [find(pictures[i : i + 10]).numpy() for i in range(0, len(pictures), 10)]
        sets.append((pictures, np.concatenate(found), masks))
        show("scenes", number + 1, len(portions))
    return [np.concatenate(column) for column in zip(*sets, strict=True)]


def batches(rng: np.random.Generator, arrays: list[np.ndarray], size: int) -> Iterator[list[np.ndarray]]:
    """Endless batches of `size` float32 pictures, cues and masks, each scene mirrored half of the time."""
    waiting = np.zeros(0, np.int64)
    while True:
        while len(waiting) < size:
            waiting = np.concatenate([waiting, rng.permutation(len(arrays[0]))])
        chosen, waiting = waiting[:size], waiting[size:]
        mirror = (rng.random(size) < 0.5)[:, None, None, None]
        batch = []
        for array in arrays:
            part = np.where(mirror, array[chosen, :, ::-1], array[chosen]).astype(np.float32)
            batch.append(part / np.float32(255) if array.dtype == np.uint8 else part)
        yield batch


def train(portions: list[Future], seed: int, steps: int, size: int, show: Callable[..., None]) -> Network:
    """A network trained for `steps` batches of `size` scenes; `show(stage, done, total, loss)` hears how far it is.

    The `portions` of scenes are results of `paint`, still on their way.
    """
    tf.config.experimental.enable_op_determinism()
    tf.random.set_seed(seed)
    arrays = with_cues(portions, show)
    network = Network(seed)
    trainer = Trainer(network, steps)
    for number, batch in enumerate(itertools.islice(batches(np.random.default_rng(seed), arrays, size), steps)):
        show("training", number + 1, steps, trainer.step(number, *batch))
    return network
