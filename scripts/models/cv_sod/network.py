"""The model `cv_sod` as a TensorFlow graph: a U-Net over picture and cues, then a filter that fits its map to edges."""

from __future__ import annotations

import math
from pathlib import Path
from typing import ClassVar

import numpy as np
import tensorflow as tf

from models.cv_sod.brushes import SIDE
from models.cv_sod.cues import cues, grid, to_lab, without_vignette

INPUT_SIDE = 320
#: What clients subtract from RGB of 0..255.
MEAN = (126.88, 120.24, 112.19)


class Network:
    """A U-Net (Ronneberger et al. 2015) of a few hundred thousand weights over the picture and its cues.

    `weights` are what is learned, `statistics` the moving means and variances of its batch normalisations.
    """

    #: name: (kernel, channels in, channels out)
    LAYERS: ClassVar[dict[str, tuple[int, int, int]]] = {
        "in32": (3, 20, 24),
        "mix32": (3, 37, 32),
        "down16": (3, 32, 48),
        "more16": (3, 48, 48),
        "down8": (3, 48, 64),
        "more8": (3, 64, 64),
        "down4": (3, 64, 80),
        "more4": (3, 80, 80),
        "up8": (3, 144, 64),
        "up16": (3, 112, 32),
        "up32": (3, 64, 32),
    }

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.weights: dict[str, tf.Variable] = {}
        self.statistics: dict[str, tf.Variable] = {}
        for name, (kernel, inside, outside) in self.LAYERS.items():
            # He et al. 2015: the deviation that keeps the size of signals through a ReLU.
            start = rng.normal(0, math.sqrt(2 / (kernel**2 * inside)), (kernel, kernel, inside, outside))
            self.weights[name] = tf.Variable(start.astype(np.float32), name=name)
            self.weights[name + "_scale"] = tf.Variable(tf.ones([outside]))
            self.weights[name + "_shift"] = tf.Variable(tf.zeros([outside]))
            self.statistics[name + "_mean"] = tf.Variable(tf.zeros([outside]), trainable=False)
            self.statistics[name + "_variance"] = tf.Variable(tf.ones([outside]), trainable=False)
        self.weights["last"] = tf.Variable(rng.normal(0, 0.05, (3, 3, 32, 4)).astype(np.float32))
        self.weights["last_shift"] = tf.Variable(tf.fill([4], -1.0))

    def layer(self, name: str, x: tf.Tensor, training: bool, stride: int = 1) -> tf.Tensor:
        """Convolution, batch normalisation, ReLU."""
        x = tf.nn.conv2d(x, self.weights[name], stride, "SAME")
        mean, variance = self.statistics[name + "_mean"], self.statistics[name + "_variance"]
        scale, shift = self.weights[name + "_scale"], self.weights[name + "_shift"]
        if not training:
            return tf.nn.relu(tf.nn.batch_normalization(x, mean, variance, shift, scale, 1e-3))
        x, now_mean, now_variance = tf.compat.v1.nn.fused_batch_norm(x, scale, shift, epsilon=1e-3)
        mean.assign(0.95 * mean + 0.05 * now_mean)
        variance.assign(0.95 * variance + 0.05 * now_variance)
        return tf.nn.relu(x)

    def __call__(self, rgb: tf.Tensor, cue: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Logits (n, SIDE, SIDE, 1) for pictures (n, SIDE, SIDE, 3) in 0..1 and their cues."""
        place = np.abs(grid(SIDE).reshape(1, SIDE, SIDE, 2) - 0.5) * 2
        place = tf.tile(tf.constant(place), [tf.shape(rgb)[0], 1, 1, 1])
        folded = tf.nn.space_to_depth(tf.concat([without_vignette(to_lab(rgb)), place], -1), 2)
        at32 = self.layer("in32", folded, training)
        at32 = self.layer("mix32", tf.concat([at32, cue], -1), training)
        at16 = self.layer("more16", self.layer("down16", at32, training, 2), training)
        at8 = self.layer("more8", self.layer("down8", at16, training, 2), training)
        at4 = self.layer("more4", self.layer("down4", at8, training, 2), training)
        x = self.layer("up8", joined(at4, at8), training)
        x = self.layer("up16", joined(x, at16), training)
        x = self.layer("up32", joined(x, at32), training)
        x = tf.nn.conv2d(x, self.weights["last"], 1, "SAME") + self.weights["last_shift"]
        return tf.nn.depth_to_space(x, 2)


def joined(small: tf.Tensor, large: tf.Tensor) -> tf.Tensor:
    """`small` doubled in size and stacked onto `large`."""
    return tf.concat([tf.image.resize(small, large.shape[1:3]), large], -1)


def guided(chance: tf.Tensor, guide: tf.Tensor, side: int = 80, window: int = 5, softness: float = 2e-3) -> tf.Tensor:
    """`chance` (1, SIDE, SIDE, 1) brought to the size of `guide` (1, 320, 320, 3) and fitted to its edges.

    The fast guided filter with a colour guide (He & Sun 2015, after He, Sun & Tang, "Guided Image Filtering", ECCV
    2010): in each window the result is the linear function of the colour that comes nearest to `chance`.
    """

    def mean(maps: tf.Tensor) -> tf.Tensor:
        rows = tf.nn.avg_pool2d(maps, (window, 1), 1, "SAME")
        return tf.nn.avg_pool2d(rows, (1, window), 1, "SAME")

    small = tf.nn.avg_pool2d(guide, INPUT_SIDE // side, INPUT_SIDE // side, "VALID")
    target = tf.image.resize(chance, (side, side))
    mean_colour, mean_target = mean(small), mean(target)
    products = tf.reshape(small[..., :, None] * small[..., None, :], [1, side, side, 9])
    spread = tf.reshape(mean(products), [1, side, side, 3, 3]) - mean_colour[..., :, None] * mean_colour[..., None, :]
    together = mean(small * target) - mean_colour * mean_target
    slope = tf.linalg.matmul(inverted(spread + softness * tf.eye(3)), together[..., None])[..., 0]
    offset = mean_target - tf.reduce_sum(slope * mean_colour, -1, keepdims=True)
    lines = tf.image.resize(mean(tf.concat([slope, offset], -1)), (INPUT_SIDE, INPUT_SIDE))
    return tf.reduce_sum(lines[..., :3] * guide, -1, keepdims=True) + lines[..., 3:]


def inverted(m: tf.Tensor) -> tf.Tensor:
    """The inverses of symmetric 3x3 matrices (..., 3, 3), by cofactors: tf.linalg.inv takes 20 times as long."""
    a, b, c, d, e, f = m[..., 0, 0], m[..., 0, 1], m[..., 0, 2], m[..., 1, 1], m[..., 1, 2], m[..., 2, 2]
    rows = [d * f - e * e, c * e - b * f, b * e - c * d, a * f - c * c, b * c - a * e, a * d - b * b]
    determinant = a * rows[0] + b * rows[1] + c * rows[2]
    whole = tf.stack([rows[i] for i in (0, 1, 2, 1, 3, 4, 2, 4, 5)], -1) / determinant[..., None]
    return tf.reshape(whole, m.shape)


def saliency(network: Network, img_in: tf.Tensor) -> tf.Tensor:
    """`img_out` for `img_in`, both as the signature has them."""
    rgb = tf.clip_by_value((img_in + tf.constant(MEAN)) / 255, 0.0, 1.0)
    small = tf.nn.avg_pool2d(rgb, INPUT_SIDE // SIDE, INPUT_SIDE // SIDE, "VALID")
    cue = cues(small)
    # The mean of the picture's map and its mirror image's: what is left and right must not matter.
    both = network(tf.concat([small, small[:, :, ::-1]], 0), tf.concat([cue, cue[:, :, ::-1]], 0))
    chance = (tf.sigmoid(both[:1]) + tf.sigmoid(both[1:])[:, :, ::-1]) / 2
    # A curve that settles what is likely or unlikely, so that objects are evenly bright and the ground is black.
    fitted = tf.clip_by_value((guided(chance, rgb) - 0.1) / 0.55, 0.0, 1.0)
    # A picture of one colour has no object; whoever stretches the map to its full range must get nothing from it.
    contrast = tf.reduce_max(tf.reduce_max(small, [1, 2]) - tf.reduce_min(small, [1, 2]))
    present = tf.clip_by_value((contrast - 0.01) / 0.02, 0.0, 1.0)
    return present * fitted**2 * (3 - 2 * fitted)


def export(network: Network, directory: Path) -> None:
    """Write the SavedModel, load it back, and compare a prediction. Raises RuntimeError where they differ."""
    module = tf.Module()
    module.state = [*network.weights.values(), *network.statistics.values()]
    shape = (1, INPUT_SIDE, INPUT_SIDE, 3)
    serve = tf.function(
        lambda img_in: {"img_out": saliency(network, img_in)},
        input_signature=[tf.TensorSpec(shape, tf.float32, "img_in")],
        autograph=False,
    )
    tf.saved_model.save(module, str(directory), signatures={"serving_default": serve})
    sample = tf.constant(np.random.default_rng(0).uniform(-110, 130, shape).astype(np.float32))
    loaded = tf.saved_model.load(str(directory)).signatures["serving_default"](img_in=sample)["img_out"].numpy()
    if not (np.isfinite(loaded).all() and np.allclose(loaded, serve(sample)["img_out"].numpy(), atol=1e-4)):
        raise RuntimeError(f"the model loaded back from {directory} does not predict what was trained")
