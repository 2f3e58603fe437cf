"""Build the demo salient-object model `cv_sod` as a TensorFlow SavedModel.

    python scripts/build_cv_sod.py --out var/models/cv_sod/1

Nothing is downloaded: the model learns from procedural scenes (`cv_sod_scenes`) in under a minute, and the same seed
gives the same model on the same machine. Its signature, `serving_default`:

* `img_in`: float32 (1, 320, 320, 3), RGB of 0..255 less the mean (126.88, 120.24, 112.19);
* `img_out`: float32 (1, 320, 320, 1) in 0..1, bright on the object.

How a map comes about: classical cues (how much a colour touches the rim of the picture, how compact and how rare it
is, how hard it is to reach the rim from it) are computed as part of the graph; a small U-Net weighs them
together with the picture itself; a guided filter fits the result to the edges of the full-size picture.
"""

from __future__ import annotations

import argparse
import itertools
import math
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))

from cv_sod_scenes import SIDE, paint  # lies beside this file, which is also imported by its path

#: TensorFlow, imported by `import_tensorflow`: not at the top, so that a refusal comes at once and the painters of the
#: scenes, which import this file too, never load it.
tf: Any = None

INPUT_SIDE = 320
MEAN = (126.88, 120.24, 112.19)
BATCH = 8
#: Scenes painted for training. Each is seen `steps * BATCH / SCENES` times.
SCENES = 1300
STEPS = 400
#: The highest learning rate.
PEAK = 3e-3
#: Cells a side at which cues are computed, and at which they look at the rest of the picture.
FINE, COARSE = 32, 16


def import_tensorflow(keras_home: str) -> None:
    """Import TensorFlow into this module, with as little noise as it permits.

    It imports Keras, at once or later, which writes `keras.json` to `~/.keras` unless KERAS_HOME names another place.
    """
    global tf
    os.environ["KERAS_HOME"] = keras_home
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")  # the CPU does it in a minute, and alike every time
    import tensorflow

    tf = tensorflow


# -- classical cues ------------------------------------------------------------------------------------------------


def to_lab(rgb: Any) -> Any:
    """sRGB in 0..1 as CIE L*a*b* over 100 (CIE 15:2004, D65): there, distances go with what the eye sees."""
    linear = tf.where(rgb > 0.04045, ((tf.maximum(rgb, 0.04045) + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    to_xyz = [[0.4339, 0.2126, 0.0178], [0.3762, 0.7152, 0.1095], [0.1899, 0.0722, 0.8727]]
    xyz = tf.tensordot(linear, tf.constant(to_xyz), 1)
    f = tf.where(xyz > 0.008856, tf.maximum(xyz, 0.008856) ** (1 / 3), 7.787 * xyz + 16 / 116)
    x, y, z = tf.unstack(f, axis=-1)
    return tf.stack([1.16 * y - 0.16, 5 * (x - y), 2 * (y - z)], -1)


def without_vignette(lab: Any) -> Any:
    """`lab` (n, SIDE, SIDE, 3) with the fall of light towards the corners taken out, as far as there is one.

    Otherwise dark corners make the well-lit middle of a ground look like an object. Light that falls with the square of
    the distance is fitted along each side of the picture, where objects are rare, and the least of the four falls is
    believed: a sky has one too. Light scales all of L* + 16, a* and b* by one factor, for these go with its cube root.
    """
    squares = (grid(SIDE) - 0.5) ** 2
    fits = []
    for along, across in ((0, 1), (1, 0)):
        for end in (0, 1):
            band = np.abs(grid(SIDE)[:, across] - end) < 0.2
            centred = (squares[:, along] - squares[band, along].mean()) * band
            fits.append(centred / (centred**2).sum())
    light = tf.math.log(tf.reshape(lab[..., 0], [-1, SIDE * SIDE]) + 0.16)
    slope = tf.reduce_max(tf.matmul(light, tf.constant(np.stack(fits, -1))), -1)
    slope = tf.clip_by_value(slope, -1.4, 0.0)[:, None, None, None]
    gain = tf.exp(-slope * tf.constant(squares.sum(-1).reshape(1, SIDE, SIDE, 1)))
    return lab * gain + tf.constant([0.16, 0.0, 0.0]) * (gain - 1)


def descriptors(lab: Any) -> tuple[Any, Any]:
    """What cells look like, for FINE and COARSE cells a side: (n, cells * cells, 6).

    Three channels are the mean colour; three how much each varies in and about the cell, which is its texture.
    """
    moments = tf.nn.avg_pool2d(tf.concat([lab, lab**2], -1), SIDE // FINE, SIDE // FINE, "VALID")
    halved = tf.nn.avg_pool2d(moments, FINE // COARSE, FINE // COARSE, "VALID")
    found = []
    for cells in (moments, halved):
        around = tf.nn.avg_pool2d(cells, 3, 1, "SAME")
        spread = tf.sqrt(tf.maximum(around[..., 3:] - around[..., :3] ** 2, 1e-6))
        both = tf.concat([cells[..., :3], 0.7 * spread], -1)
        found.append(tf.reshape(both, [-1, cells.shape[1] * cells.shape[2], 6]))
    return found[0], found[1]


def weighted_sums(values: Any, weights: np.ndarray) -> list[Any]:
    """For `values` (n, p, q) and `weights` (q, k): k sums over q, each (n, p)."""
    flat = tf.matmul(tf.reshape(values, [-1, values.shape[2]]), tf.constant(weights))
    return tf.unstack(tf.reshape(flat, [-1, values.shape[1], weights.shape[1]]), axis=-1)


def grid(cells: int) -> np.ndarray:
    """The centres of cells as (cells * cells, 2) of (y, x) in 0..1."""
    axis = (np.arange(cells, dtype=np.float32) + 0.5) / cells
    return np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)


def squared_distances(a: Any, b: Any) -> Any:
    """Of each row of `a` (n, p, d) to each of `b` (n, q, d): (n, p, q), in one product of matrices."""
    left = tf.concat([-2 * a, tf.reduce_sum(a**2, -1, keepdims=True), tf.ones_like(a[..., :1])], -1)
    right = tf.concat([b, tf.ones_like(b[..., :1]), tf.reduce_sum(b**2, -1, keepdims=True)], -1)
    return tf.maximum(tf.matmul(left, right, transpose_b=True), 1e-6)


def global_cues(lab: Any) -> Any:
    """(n, FINE, FINE, 8): what the rest of the picture says about each cell, in about 0..1.

    Boundary connectivity and background-weighted contrast after Zhu, Liang, Wei & Sun, "Saliency Optimization from
    Robust Background Detection" (CVPR 2014); compactness and rarity of a colour after Perazzi et al., "Saliency
    Filters" (CVPR 2012); likeness to the rim as a density, in the spirit of Li et al., "Saliency Detection via Dense
    and Sparse Reconstruction" (ICCV 2013).
    """
    here, there = grid(FINE), grid(COARSE)
    apart = ((here[:, None] - there[None]) ** 2).sum(-1)
    rim = (np.abs(there - 0.5).max(-1) > 0.5 - 1 / COARSE).astype(np.float32)
    ones = np.ones_like(rim)
    places = np.stack([*there.T, (there**2).sum(-1), ones, rim / rim.sum()], -1)
    square = squared_distances(*descriptors(lab))
    distance = tf.sqrt(square)
    wide = tf.exp(square * (-0.5 / 0.15**2))
    spread = tf.constant(np.exp(-apart / (2 * 0.3**2)))
    found = [2 * weighted_sums(distance, ones[:, None] / COARSE**2)[0]]
    # The fourth power of a Gaussian is one of half its width, and far cheaper than another exp.
    for alike in (tf.square(tf.square(wide)), wide):
        area, border = weighted_sums(alike * spread, np.stack([ones, rim], -1))
        touching = 1 - tf.exp(-border / tf.sqrt(area + 1))
        y, x, radius, total, at_rim = weighted_sums(alike, places)
        scatter = radius / (total + 1e-3) - (y**2 + x**2) / (total + 1e-3) ** 2
        found += [touching, tf.exp(-tf.maximum(scatter, 0.0) / 0.04), -0.1 * tf.math.log(at_rim + 1e-4)]
    ground = tf.nn.avg_pool2d(tf.reshape(touching, [-1, FINE, FINE, 1]), 2, 2, "VALID")
    nearby = tf.constant(np.exp(-apart / (2 * 0.4**2)))
    ground = tf.reshape(ground, [-1, COARSE * COARSE, 1])
    contrast = tf.matmul(nearby * distance, ground) / (tf.matmul(nearby[None], ground) + 1e-3)
    return tf.reshape(tf.stack([*found, 2 * contrast[..., 0]], -1), [-1, FINE, FINE, 8])


def from_neighbour(maps: Any, direction: int) -> Any:
    """`maps` (..., FINE, FINE) with each cell's value replaced by that of its upper, left, lower or right neighbour."""
    if direction == 0:
        return tf.concat([maps[..., :1, :], maps[..., :-1, :]], -2)
    if direction == 1:
        return tf.concat([maps[..., :1], maps[..., :-1]], -1)
    if direction == 2:
        return tf.concat([maps[..., 1:, :], maps[..., -1:, :]], -2)
    return tf.concat([maps[..., 1:], maps[..., -1:]], -1)


def path_cues(lab: Any, rounds: int = 16) -> Any:
    """(n, FINE, FINE, 3): how hard it is to walk from a cell to the rim of the picture, in three measures.

    The range of colour on the way: the minimum barrier distance of Zhang et al., "Minimum Barrier Salient Object
    Detection at 80 FPS" (ICCV 2015). The sum, and the greatest, of the steps on the way, of which what is usual in the
    picture is free: Wei et al., "Geodesic Saliency Using Background Priors" (ECCV 2012); smooth changes of light cost
    nothing there. The papers sweep cell after cell; here each round takes one step in every direction, everywhere.
    """
    colours = tf.transpose(tf.nn.avg_pool2d(lab, SIDE // FINE, SIDE // FINE, "VALID"), [3, 0, 1, 2])
    # Highest and lowest value on the way, the lowest negated: both grow, and their sum is the range.
    value = tf.concat([colours, -colours], 0)
    steps = [tf.reduce_sum(tf.abs(from_neighbour(colours, i) - colours), 0) for i in range(4)]
    free = tf.reduce_mean(steps[0] + steps[1], [1, 2], keepdims=True) / 2
    steps = [tf.maximum(step - free, 0) for step in steps]
    start = np.full((1, FINE, FINE), 9, np.float32)
    start[:, [0, -1]], start[:, :, [0, -1]] = 0, 0
    start = tf.constant(start) + 0 * value[0]

    def walk(reach: Any, barrier: Any, total: Any, greatest: Any) -> tuple[Any, Any, Any, Any]:
        for i in range(4):
            moved = tf.maximum(from_neighbour(reach, i), value)
            span = tf.reduce_sum(moved, 0)
            reach = tf.where(span < barrier, moved, reach)
            barrier = tf.minimum(barrier, span)
            total = tf.minimum(total, from_neighbour(total, i) + steps[i])
            greatest = tf.minimum(greatest, tf.maximum(from_neighbour(greatest, i), steps[i]))
        return reach, barrier, total, greatest

    found = (value, start, start, start)
    _, barrier, total, greatest = tf.while_loop(lambda *_: True, walk, found, maximum_iterations=rounds)
    return tf.minimum(tf.stack([1.5 * barrier, 1.5 * total, 3 * greatest], -1), 3.0)


def surround_cues(lab: Any) -> Any:
    """(n, FINE, FINE, 2): how far a cell's colour is from the mean about it, near and wide.

    The centre-surround differences of Itti, Koch & Niebur, "A Model of Saliency-Based Visual Attention" (PAMI 1998),
    which see an object in a ground that changes across the picture.
    """
    centre = tf.nn.avg_pool2d(lab, SIDE // FINE, SIDE // FINE, "VALID")
    found = []
    for window in (9, 19):
        rows = tf.nn.avg_pool2d(centre, (window, 1), 1, "SAME")
        away = centre - tf.nn.avg_pool2d(rows, (1, window), 1, "SAME")
        found.append(4 * tf.sqrt(tf.reduce_sum(away**2, -1) + 1e-6))
    return tf.stack(found, -1)


def cues(rgb: Any) -> Any:
    """All cues of pictures (n, SIDE, SIDE, 3) in 0..1: (n, FINE, FINE, 13)."""
    lab = without_vignette(to_lab(rgb))
    return tf.concat([global_cues(lab), path_cues(lab), surround_cues(lab)], -1)


# -- network -------------------------------------------------------------------------------------------------------


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
        self.weights: dict[str, Any] = {}
        self.statistics: dict[str, Any] = {}
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

    def layer(self, name: str, x: Any, training: bool, stride: int = 1) -> Any:
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

    def __call__(self, rgb: Any, cue: Any, training: bool = False) -> Any:
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


def joined(small: Any, large: Any) -> Any:
    """`small` doubled in size and stacked onto `large`."""
    return tf.concat([tf.image.resize(small, large.shape[1:3]), large], -1)


# -- the whole model -----------------------------------------------------------------------------------------------


def guided(chance: Any, guide: Any, side: int = 80, window: int = 5, softness: float = 2e-3) -> Any:
    """`chance` (1, SIDE, SIDE, 1) brought to the size of `guide` (1, 320, 320, 3) and fitted to its edges.

    The fast guided filter with a colour guide (He & Sun 2015, after He, Sun & Tang, "Guided Image Filtering", ECCV
    2010): in each window the result is the linear function of the colour that comes nearest to `chance`.
    """

    def mean(maps: Any) -> Any:
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


def inverted(m: Any) -> Any:
    """The inverses of symmetric 3x3 matrices (..., 3, 3), by cofactors: tf.linalg.inv takes 20 times as long."""
    a, b, c, d, e, f = m[..., 0, 0], m[..., 0, 1], m[..., 0, 2], m[..., 1, 1], m[..., 1, 2], m[..., 2, 2]
    rows = [d * f - e * e, c * e - b * f, b * e - c * d, a * f - c * c, b * c - a * e, a * d - b * b]
    determinant = a * rows[0] + b * rows[1] + c * rows[2]
    whole = tf.stack([rows[i] for i in (0, 1, 2, 1, 3, 4, 2, 4, 5)], -1) / determinant[..., None]
    return tf.reshape(whole, m.shape)


def saliency(network: Network, img_in: Any) -> Any:
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


# -- training ------------------------------------------------------------------------------------------------------


def loss(logits: Any, masks: Any) -> Any:
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
        self.update = tf.function(self._update)

    def rate(self, step: int) -> float:
        """Up over the first tenth, then down along a cosine (Smith & Topin 2018)."""
        warm = max(1, self.steps // 10)
        if step < warm:
            return PEAK * (step + 1) / warm
        return PEAK * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, self.steps - warm)))

    def _update(self, pictures: Any, cue: Any, masks: Any, rate: Any, power1: Any, power2: Any) -> Any:
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

    def step(self, number: int, pictures: Any, cue: Any, masks: Any) -> float:
        powers = (0.9 ** (number + 1), 0.99 ** (number + 1))
        scalars = [tf.constant(x, tf.float32) for x in (self.rate(number), *powers)]
        return float(self.update(pictures, cue, masks, *scalars))


def paint_all(pool: ProcessPoolExecutor, seed: int, count: int) -> list[Future]:
    """Have `count` scenes painted, in the background, in portions of at most 50."""
    return [pool.submit(paint, seed, range(i, min(i + 50, count))) for i in range(0, count, 50)]


def train(portions: list[Future], seed: int, steps: int, progress: Progress) -> Network:
    """A network trained for `steps` batches on painted scenes."""
    find = tf.function(lambda pictures: tf.cast(cues(tf.cast(pictures, tf.float32) / 255), tf.float16))
    sets = []
    for number, portion in enumerate(portions):
        pictures, masks = portion.result()
        found = [find(pictures[i : i + 10]).numpy() for i in range(0, len(pictures), 10)]
        sets.append((pictures, np.concatenate(found), masks))
        progress.show("scenes", number + 1, len(portions))
    arrays = [np.concatenate(column) for column in zip(*sets, strict=True)]
    network = Network(seed)
    trainer = Trainer(network, steps)
    for number, batch in enumerate(itertools.islice(batches(np.random.default_rng(seed), arrays), steps)):
        progress.show("training", number + 1, steps, trainer.step(number, *batch))
    return network


def batches(rng: np.random.Generator, arrays: list[np.ndarray]) -> Iterator[list[np.ndarray]]:
    """Endless batches of float32 pictures, cues and masks, each scene mirrored half of the time."""
    waiting = np.zeros(0, np.int64)
    while True:
        while len(waiting) < BATCH:
            waiting = np.concatenate([waiting, rng.permutation(len(arrays[0]))])
        chosen, waiting = waiting[:BATCH], waiting[BATCH:]
        mirror = (rng.random(BATCH) < 0.5)[:, None, None, None]
        batch = []
        for array in arrays:
            part = np.where(mirror, array[chosen, :, ::-1], array[chosen]).astype(np.float32)
            batch.append(part / np.float32(255) if array.dtype == np.uint8 else part)
        yield batch


# -- writing -------------------------------------------------------------------------------------------------------


class Progress:
    """Tells how far the build is: one line that rewrites itself on a terminal, a line per quarter elsewhere."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.terminal = sys.stdout.isatty()

    def show(self, stage: str, done: int, total: int, loss: float | None = None) -> None:
        tail = "" if loss is None else f"  loss {loss:.3f}"
        line = f"cv_sod  {stage:<8} {done:>4}/{total}{tail}  {time.monotonic() - self.started:.0f} s"
        if self.terminal:
            print(f"\r{line:<70}", end="\n" if done == total else "", flush=True)
        elif done == total or (4 * done // total) != (4 * (done - 1) // total):
            print(line, flush=True)


@contextmanager
def published(out: Path) -> Iterator[Path]:
    """A new directory beside `out` to write into; it becomes `out` if the block succeeds and goes if it fails.

    So a model server that watches the folder never sees half a version.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    retired = draft.with_name(draft.name + "-old")
    try:
        yield draft
        draft.chmod(0o755)  # mkdtemp lets in the owner alone; a model server may run as another user
        if out.exists():
            out.rename(retired)
        draft.rename(out)
    except BaseException:
        if retired.exists():
            retired.rename(out)
        raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        shutil.rmtree(retired, ignore_errors=True)


def export(network: Network, directory: Path) -> None:
    """Write the SavedModel, load it back, and compare a prediction. Raises RuntimeError where they differ."""
    module = tf.Module()
    module.state = [*network.weights.values(), *network.statistics.values()]
    shape = (1, INPUT_SIDE, INPUT_SIDE, 3)
    serve = tf.function(
        lambda img_in: {"img_out": saliency(network, img_in)},
        input_signature=[tf.TensorSpec(shape, tf.float32, "img_in")],
    )
    tf.saved_model.save(module, str(directory), signatures={"serving_default": serve})
    sample = tf.constant(np.random.default_rng(0).uniform(-110, 130, shape).astype(np.float32))
    loaded = tf.saved_model.load(str(directory)).signatures["serving_default"](img_in=sample)["img_out"].numpy()
    if not (np.isfinite(loaded).all() and np.allclose(loaded, serve(sample)["img_out"].numpy(), atol=1e-4)):
        raise RuntimeError(f"the model loaded back from {directory} does not predict what was trained")


def build(out: Path, seed: int, steps: int) -> None:
    """Paint, train, write."""
    progress = Progress()
    pool = ProcessPoolExecutor(min(4, os.cpu_count() or 1), mp_context=get_context("spawn"))
    with tempfile.TemporaryDirectory(prefix="keras-") as keras_home:
        try:
            portions = paint_all(pool, seed, min(SCENES, steps * BATCH))
            import_tensorflow(keras_home)
            tf.config.experimental.enable_op_determinism()
            tf.random.set_seed(seed)
            network = train(portions, seed, steps, progress)
        finally:
            pool.shutdown(cancel_futures=True)
        with published(out) as directory:
            export(network, directory)
    print(f"cv_sod  written to {out}  {time.monotonic() - progress.started:.0f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description="Build the demo salient-object model cv_sod.")
    parser.add_argument("--out", type=Path, required=True, help="version directory to write, e.g. var/models/cv_sod/1")
    parser.add_argument("--seed", type=int, default=1, help="the same seed gives the same model (default %(default)s)")
    parser.add_argument("--steps", type=int, default=STEPS, help="batches to train for (default %(default)s)")
    parser.add_argument("--force", action="store_true", help="replace what is at --out")
    arguments = parser.parse_args()
    if arguments.steps < 1:
        parser.error(f"--steps {arguments.steps}: at least 1")
    if arguments.out.exists() and not arguments.force:
        parser.error(f"--out {arguments.out}: already there; --force replaces it")
    # A polite stop leaves nothing behind either: SystemExit runs the clean-up that the signal alone would skip.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    build(arguments.out, arguments.seed, arguments.steps)


if __name__ == "__main__":
    main()
