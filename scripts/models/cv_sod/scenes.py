"""Procedural pictures with known objects: what the demo model `cv_sod` learns from.

`scene(seed)` returns a picture and the mask of its objects. Nothing is read from disk: grounds, objects, textures,
light and camera faults are all drawn from the seed, so the same seed gives the same picture on the same machine.
Pictures are float32 RGB in 0..1; masks are float32 in 0..1.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from models.cv_sod.brushes import SIDE, XX, YY, Array, Rng, chance, colour, noise, over, soft, strength, texture, warped
from models.cv_sod.grounds import GROUNDS
from models.cv_sod.shapes import SHAPES, SHEET


def choose(rng: Rng, weighted: tuple) -> Callable:
    """One of the functions of a table, by its weight."""
    weights = np.array([weight for _, weight in weighted])
    return weighted[rng.choice(len(weighted), p=weights / weights.sum())][0]


def placed(rng: Rng, parts: list[Array], height: float, centre: Array) -> list[Array]:
    """The parts turned, mirrored, scaled to `height` (of the picture) and moved to `centre`, all in the same way."""
    rows, columns = np.nonzero(np.max(parts, 0))
    middle = np.array([columns.min() + columns.max(), rows.min() + rows.max()]) / 2
    scale = height * SIDE / max(np.ptp(rows), 0.8 * np.ptp(columns))
    mirror, turn = rng.choice([-1, 1]), rng.normal(0, 0.15)
    matrix = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) @ np.diag([mirror, 1.0])
    move = centre * SIDE - matrix @ middle
    sheets = soft(np.stack(parts, -1), 0.4 / scale)
    sheets = cv2.warpAffine(sheets, np.hstack([matrix, move[:, None]]), (SIDE, SIDE), flags=cv2.INTER_LINEAR)
    sheets = warped(rng, sheets, rng.uniform(0, 1.2) * min(1.0, height * 2))
    return list(np.moveaxis(np.clip(sheets.reshape(SIDE, SIDE, len(parts)), 0, 1), -1, 0))


def coat(rng: Rng, ground: Array) -> Callable[[int], Array]:
    """How an object is clad: a function from the part's number to its surface. Parts share a hue, or do not."""
    near = ground[SIDE // 4 : -SIDE // 4, SIDE // 4 : -SIDE // 4].mean((0, 1))
    base = max((colour(rng) for _ in range(int(rng.integers(1, 4)))), key=lambda c: float(np.abs(c - near).sum()))
    motley = chance(rng, 0.3)
    grain, pattern = strength(rng), rng.random()
    marks = noise(rng, rng.uniform(10, 26), np.exp(rng.normal(0, 0.8)), 1) > rng.uniform(-0.4, 0.8)
    mark_colour = colour(rng) if chance(rng, 0.3) else base * rng.uniform(0.2, 0.7)

    def surface(part: int) -> Array:
        shade = colour(rng) if motley and part else base * rng.uniform(0.6, 1.25)
        skin = texture(rng, shade, grain)
        if pattern < 0.25:
            skin = over(skin, np.ones_like(skin) * mark_colour, soft(marks.astype(np.float32), 0.5))
        return skin

    return surface


def lit(rng: Rng, skin: Array, mask: Array) -> Array:
    """A surface shaded as a round body is: lighter on one side and darker at the other, by the blurred mask's slope."""
    round_ = soft(mask, 3.5)
    angle = rng.normal(-np.pi / 2, 0.8)
    slope = cv2.Sobel(round_, cv2.CV_32F, 1, 0) * np.cos(angle) + cv2.Sobel(round_, cv2.CV_32F, 0, 1) * np.sin(angle)
    return skin * np.clip(1 - rng.uniform(0, 0.8) * slope, 0.3, 1.8)[..., None]


def shadow(rng: Rng, mask: Array) -> Array:
    """How much darker, in 0..1, the ground is below the object of `mask`."""
    dark = np.zeros_like(mask)
    rows, columns = np.nonzero(mask > 0.5)
    if rows.size:
        centre = (int(columns.mean() + rng.normal(0, 3)), int(rows.max()))
        cv2.ellipse(dark, centre, (int(np.ptp(columns) * 0.55) + 1, int(rng.uniform(1, 4))), 0, 0, 360, 1.0, -1)
    return rng.uniform(0.2, 0.7) * soft(dark, rng.uniform(0.5, 2))


def add_object(
    rng: Rng, picture: Array, parts: list[Array], surface: Callable[[int], Array], grass: Array
) -> tuple[Array, Array]:
    """`picture` with one object in it, and the object's mask; a shadow below it, and at times grass before its feet."""
    mask = np.max(parts, 0)
    if chance(rng, 0.4):
        picture = picture * (1 - shadow(rng, mask))[..., None]
    feet = np.zeros_like(mask)
    if chance(rng, 0.25) and mask.max() > 0.5:
        bottom = np.nonzero(mask.max(1) > 0.5)[0].max() / SIDE
        feet = soft((YY + 0.03 * noise(rng, 10, 4.0) > bottom - rng.uniform(0.02, 0.12)).astype(np.float32), 0.4)
    visible = mask * (1 - feet)
    result = picture
    edge = rng.uniform(0, 0.8)
    for number, part in enumerate(parts):
        result = over(result, lit(rng, surface(number), part), soft(part, edge))
    return over(result, picture, feet), visible


def camera(rng: Rng, picture: Array) -> Array:
    """What lens, light and sensor do: vignette, uneven light, colour cast, contrast, noise."""
    if chance(rng, 0.25):
        picture = picture * (1 - rng.uniform(0.2, 1.5) * ((XX - 0.5) ** 2 + (YY - 0.5) ** 2))[..., None]
    if chance(rng, 0.25):
        picture = picture * np.exp(rng.uniform(0.05, 0.25) * noise(rng, rng.uniform(2, 4), octaves=1))[..., None]
    grey = picture.mean(-1, keepdims=True)
    picture = grey + (picture - grey) * rng.uniform(0.5, 1.4)
    picture = np.clip(picture * rng.uniform(0.75, 1.25) * rng.normal(1, 0.06, 3), 0, 1) ** np.exp(rng.normal(0, 0.25))
    return np.clip(picture + rng.normal(0, rng.uniform(0, 0.03), picture.shape), 0, 1)


def caption(rng: Rng, picture: Array) -> Array:
    """A line of lettering, as stock photographs bear: not an object."""
    size, shade = rng.uniform(0.25, 0.5), float(rng.choice([0.05, 0.95]))
    text = "".join(chr(rng.integers(97, 123)) for _ in range(int(rng.integers(5, 20))))
    at = (int(rng.uniform(0, 100)), int(rng.choice([rng.uniform(10, 60), rng.uniform(148, 158)])))
    letters = np.zeros((SHEET, SHEET), np.uint8)
    cv2.putText(letters, text, at, cv2.FONT_HERSHEY_SIMPLEX, size, 255)
    small = cv2.resize(letters, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return over(picture, np.full_like(picture, shade), small / np.float32(255))


def layout(rng: Rng) -> list[tuple[float, Array]]:
    """Height and centre of each object: one large, or a few alike."""
    count = int(rng.choice([1, 2, 3, 5], p=[0.72, 0.14, 0.09, 0.05]))
    height = np.exp(rng.uniform(np.log(0.22), np.log(1.0))) if count == 1 else rng.uniform(0.2, 0.6) / count**0.4
    middle = np.array([rng.normal(0.5, 0.14), rng.normal(0.53, 0.1)])
    places = []
    for _ in range(count):
        offset = rng.normal(0, 0.22, 2) * [1, 0.3] if count > 1 else np.zeros(2)
        size = height * rng.uniform(0.8, 1.2)
        places.append((size, np.clip(middle + offset, size * 0.35, 1 - size * 0.35)))
    return places


def scene(seed: tuple[int, int]) -> tuple[Array, Array]:
    """One picture, (SIDE, SIDE, 3), and the mask of its objects, (SIDE, SIDE); float32 in 0..1."""
    rng = np.random.default_rng(seed)
    ground = choose(rng, GROUNDS)(rng)
    blur = np.exp(rng.uniform(-1.5, 1.1)) if chance(rng, 0.5) else 0.0
    picture = soft(np.clip(ground, 0, 1).astype(np.float32), blur)
    shape, surface = choose(rng, SHAPES), coat(rng, picture)
    mask = np.zeros((SIDE, SIDE), np.float32)
    for height, centre in layout(rng):
        parts = placed(rng, shape(rng), height, centre)
        picture, one = add_object(rng, picture, parts, surface, ground)
        mask = np.maximum(mask, one)
    if chance(rng, 0.15):
        picture = caption(rng, picture)
    return camera(rng, picture).astype(np.float32), mask.astype(np.float32)


def paint(seed: int, numbers: range) -> tuple[Array, Array]:
    """The scenes of `numbers` as uint8: pictures (n, SIDE, SIDE, 3) and masks (n, SIDE, SIDE, 1).

    Runs in a process of its own, one of several; so OpenCV gets one thread.
    """
    cv2.setNumThreads(1)
    pictures, masks = zip(*(scene((seed, number)) for number in numbers), strict=True)
    whole = [np.round(255 * np.stack(arrays)).astype(np.uint8) for arrays in (pictures, masks)]
    return whole[0], whole[1][..., None]
