"""Classical cues to what is salient, as a TensorFlow graph: what the network of `cv_sod` sees beside the picture.

Pictures are (n, SIDE, SIDE, 3); each cue is a map of FINE x FINE cells. How much a colour touches the rim of the
picture, how compact and how rare it is; how hard it is to reach the rim from a cell; how a cell stands out from what
is around it.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from models.cv_sod.brushes import SIDE

#: Cells a side at which cues are computed, and at which they look at the rest of the picture.
FINE, COARSE = 32, 16


def to_lab(rgb: tf.Tensor) -> tf.Tensor:
    """sRGB in 0..1 as CIE L*a*b* over 100 (CIE 15:2004, D65): there, distances go with what the eye sees."""
    linear = tf.where(rgb > 0.04045, ((tf.maximum(rgb, 0.04045) + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    to_xyz = [[0.4339, 0.2126, 0.0178], [0.3762, 0.7152, 0.1095], [0.1899, 0.0722, 0.8727]]
    xyz = tf.tensordot(linear, tf.constant(to_xyz), 1)
    f = tf.where(xyz > 0.008856, tf.maximum(xyz, 0.008856) ** (1 / 3), 7.787 * xyz + 16 / 116)
    x, y, z = tf.unstack(f, axis=-1)
    return tf.stack([1.16 * y - 0.16, 5 * (x - y), 2 * (y - z)], -1)


def without_vignette(lab: tf.Tensor) -> tf.Tensor:
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


def descriptors(lab: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
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


def weighted_sums(values: tf.Tensor, weights: np.ndarray) -> list[tf.Tensor]:
    """For `values` (n, p, q) and `weights` (q, k): k sums over q, each (n, p)."""
    flat = tf.matmul(tf.reshape(values, [-1, values.shape[2]]), tf.constant(weights))
    return tf.unstack(tf.reshape(flat, [-1, values.shape[1], weights.shape[1]]), axis=-1)


def grid(cells: int) -> np.ndarray:
    """The centres of cells as (cells * cells, 2) of (y, x) in 0..1."""
    axis = (np.arange(cells, dtype=np.float32) + 0.5) / cells
    return np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)


def squared_distances(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """Of each row of `a` (n, p, d) to each of `b` (n, q, d): (n, p, q), in one product of matrices."""
    left = tf.concat([-2 * a, tf.reduce_sum(a**2, -1, keepdims=True), tf.ones_like(a[..., :1])], -1)
    right = tf.concat([b, tf.ones_like(b[..., :1]), tf.reduce_sum(b**2, -1, keepdims=True)], -1)
    return tf.maximum(tf.matmul(left, right, transpose_b=True), 1e-6)


def global_cues(lab: tf.Tensor) -> tf.Tensor:
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


def from_neighbour(maps: tf.Tensor, direction: int) -> tf.Tensor:
    """`maps` (..., FINE, FINE) with each cell's value replaced by that of its upper, left, lower or right neighbour."""
    if direction == 0:
        return tf.concat([maps[..., :1, :], maps[..., :-1, :]], -2)
    if direction == 1:
        return tf.concat([maps[..., :1], maps[..., :-1]], -1)
    if direction == 2:
        return tf.concat([maps[..., 1:, :], maps[..., -1:, :]], -2)
    return tf.concat([maps[..., 1:], maps[..., -1:]], -1)


def path_cues(lab: tf.Tensor, rounds: int = 16) -> tf.Tensor:
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

    def walk(
        reach: tf.Tensor, barrier: tf.Tensor, total: tf.Tensor, greatest: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
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


def surround_cues(lab: tf.Tensor) -> tf.Tensor:
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


def cues(rgb: tf.Tensor) -> tf.Tensor:
    """All cues of pictures (n, SIDE, SIDE, 3) in 0..1: (n, FINE, FINE, 13)."""
    lab = without_vignette(to_lab(rgb))
    return tf.concat([global_cues(lab), path_cues(lab), surround_cues(lab)], -1)
