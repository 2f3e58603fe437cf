"""The grounds of the scenes of `cv_sod`: landscapes, rooms, clutter, all without an object.

Each returns a picture, (SIDE, SIDE, 3), about 0..1; `GROUNDS` says how often each is seen.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from models.cv_sod.brushes import SIDE, XX, YY, Array, Rng, chance, colour, noise, over, soft, strength, texture, warped


def plain_ground(rng: Rng) -> Array:
    """A wall or studio backdrop: one colour, with a fall of light and at times a floor."""
    base = colour(rng)
    angle = rng.uniform(0, 2 * np.pi)
    fall = (XX - 0.5) * np.cos(angle) + (YY - 0.5) * np.sin(angle)
    ground = texture(rng, base, strength(rng) * 0.3) * (1 + rng.uniform(0, 0.6) * fall[..., None])
    if chance(rng, 0.5):
        line = rng.uniform(0.4, 0.95) + rng.normal(0, 0.1) * (XX - 0.5)
        floor = texture(rng, base * rng.uniform(0.5, 1.3) if chance(rng, 0.6) else colour(rng), strength(rng) * 0.6)
        ground = over(ground, floor, soft((line < YY).astype(np.float32), np.exp(rng.uniform(-1.5, 2.3))))
    return ground


def cloudy(rng: Rng, base: Array) -> Array:
    """A sky: lighter towards the horizon or the sun, with or without clouds."""
    pale = base + (1 - base) * rng.uniform(0, 1)
    light = np.clip(YY * rng.uniform(1, 2.5), 0, 1)
    if chance(rng, 0.5):  # the sun's side of the sky: a glow about a point, with the corners left dark
        x, y = rng.uniform(0, 1), rng.uniform(0.1, 0.7)
        light = np.exp(-(((XX - x) / rng.uniform(0.3, 0.9)) ** 2) - ((YY - y) / rng.uniform(0.2, 0.6)) ** 2)
    sky = base + (pale - base) * light[..., None]
    if chance(rng, 0.6):
        clouds = np.clip(noise(rng, rng.uniform(2, 6), rng.uniform(0.4, 1)) * rng.uniform(0.3, 0.8), 0, 1)
        sky = over(sky, np.full_like(sky, rng.uniform(0.7, 1)), clouds)
    return sky


def ridge(rng: Rng, height: float, rough: float) -> Array:
    """The mask of all below a rough line at `height` (0 is the top)."""
    line = height + rough * noise(rng, rng.uniform(2, 12), octaves=4)[:1] + rng.normal(0, 0.03) * (XX[:1] - 0.5)
    return (line < YY).astype(np.float32)


def landscape(rng: Rng) -> Array:
    """Sky, hills, trees and meadow in layers, finest in the foreground."""
    ground = cloudy(rng, colour(rng)) if chance(rng, 0.7) else texture(rng, colour(rng), strength(rng))
    heights = np.sort(rng.uniform(0.05, 0.8, int(rng.integers(1, 4))))
    for height in heights:
        layer = texture(rng, colour(rng), strength(rng)) * (1 + rng.uniform(-0.3, 0.5) * (YY - height)[..., None])
        edge = ridge(rng, height, np.exp(rng.uniform(-6.5, -2.3)))
        ground = over(ground, layer, soft(edge, np.exp(rng.uniform(-2, 1))))
    if chance(rng, 0.35):
        ground = over(ground, texture(rng, colour(rng) * 0.6, 0.3), bushes(rng, float(heights[-1])))
    if chance(rng, 0.2):
        ground = over(ground, texture(rng, colour(rng) * 0.8, 0.2), trunks(rng))
    return ground


def bushes(rng: Rng, height: float) -> Array:
    """The mask of tree tops and bushes along the horizon: things that stand out, yet are no object."""
    mask = np.zeros((SIDE, SIDE), np.float32)
    for _ in range(int(rng.integers(3, 12))):
        centre = (int(rng.uniform(0, SIDE)), int((height + rng.normal(0, 0.02)) * SIDE))
        axes = (int(rng.uniform(2, 11)), int(rng.uniform(1, 7)))
        cv2.ellipse(mask, centre, axes, 0, 0, 360, 1.0, -1)
    return soft(warped(rng, mask, 2.5), 0.4)


def trunks(rng: Rng) -> Array:
    """The mask of trunks, posts and frames: bars that run out of the picture."""
    mask = np.zeros((SIDE, SIDE), np.float32)
    for _ in range(int(rng.integers(1, 4))):
        x, width = rng.uniform(0, SIDE), rng.uniform(1, 7)
        end = SIDE * (1.1 if chance(rng, 0.5) else rng.uniform(0.2, 0.9))
        cv2.line(mask, (int(x), -5), (int(x + rng.normal(0, 4)), int(end)), 1.0, max(1, int(width)))
    return soft(mask, 0.4)


def bokeh(rng: Rng) -> Array:
    """A ground far out of focus: two to four colours that run into each other."""
    ground = np.ones((SIDE, SIDE, 3), np.float32) * colour(rng)
    for _ in range(int(rng.integers(1, 4))):
        share = 1 / (1 + np.exp(-rng.uniform(1, 5) * (noise(rng, rng.uniform(1.5, 5), octaves=1) - rng.normal(0, 0.7))))
        ground = over(ground, ground * 0 + colour(rng), share)
    return ground * (1 + rng.uniform(0, 0.08) * noise(rng, 40)[..., None])


def clutter(rng: Rng) -> Array:
    """Many overlapping shapes of all sizes, the "dead leaves" model of natural pictures (Lee, Mumford & Huang 2001)."""
    palette = [colour(rng) for _ in range(int(rng.integers(2, 6)))]
    ground = np.ones((SIDE, SIDE, 3), np.float32) * palette[0]
    largest = rng.uniform(4, 20)
    for _ in range(int(rng.integers(50, 120))):
        centre = tuple(int(v) for v in rng.uniform(0, SIDE, 2))
        axes = tuple(int(v) for v in 1 + largest * rng.random(2) ** 2)
        shade = palette[rng.integers(len(palette))] * rng.uniform(0.6, 1.3)
        cv2.ellipse(ground, centre, axes, rng.uniform(0, 180), 0, 360, tuple(float(v) for v in shade), -1)
    return ground * (1 + strength(rng) * 0.6 * noise(rng, rng.uniform(5, 40))[..., None])


def meadow(rng: Rng) -> Array:
    """One textured surface that fills the picture: grass, sand, water, gravel, a table top."""
    fall = rng.uniform(-0.5, 0.5) * (YY - 0.5) + rng.uniform(-0.3, 0.3) * (XX - 0.5)
    return texture(rng, colour(rng), strength(rng)) * (1 + fall[..., None])


def room(rng: Rng) -> Array:
    """A wall, a floor and rectangles that stand at the rim of the picture: windows, shelves, doors."""
    ground = plain_ground(rng)
    for _ in range(int(rng.integers(1, 5))):
        mask = np.zeros((SIDE, SIDE), np.float32)
        x, y = (int(v) for v in rng.choice([-10, SIDE], 2) + rng.normal(0, 8, 2))
        far = (int(x + rng.normal(0, 22)), int(rng.uniform(0, SIDE)))
        cv2.rectangle(mask, (x, y), far, 1.0, -1)
        ground = over(ground, texture(rng, colour(rng), strength(rng)), soft(mask, rng.uniform(0, 1)))
    return ground


GROUNDS: tuple[tuple[Callable[[Rng], Array], float], ...] = (
    (landscape, 0.38), (meadow, 0.16), (plain_ground, 0.14), (bokeh, 0.14), (room, 0.09), (clutter, 0.09),
)  # fmt: skip
