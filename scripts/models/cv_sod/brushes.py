"""What the scenes of `cv_sod` are painted with: chance, colours, noise, textures, and masks to lay them through.

Pictures are float32 RGB (SIDE, SIDE, 3) in 0..1; masks are float32 (SIDE, SIDE) in 0..1.
"""

from __future__ import annotations

import cv2
import numpy as np

Array = np.ndarray
Rng = np.random.Generator


#: Side of a picture in pixels.
SIDE = 64

#: How far down and how far right each pixel lies, in 0..1.
YY, XX = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32) / SIDE

#: HSV centres (hue in degrees) of what outdoor and indoor pictures are full of: foliage, dry grass, sky, earth, ...
NATURAL = (
    (95, 0.6, 0.5), (75, 0.5, 0.6), (120, 0.4, 0.3), (210, 0.5, 0.8), (205, 0.2, 0.9), (30, 0.45, 0.45),
    (40, 0.4, 0.7), (25, 0.6, 0.3), (0, 0.0, 0.5), (0, 0.0, 0.85), (0, 0.0, 0.2), (15, 0.3, 0.8),
)  # fmt: skip


def chance(rng: Rng, probability: float) -> bool:
    """True with `probability`."""
    return bool(rng.random() < probability)


def colour(rng: Rng) -> Array:
    """One colour, (3,) in 0..1: mostly near a natural one, at times any."""
    if chance(rng, 0.25):
        hue, saturation, value = rng.uniform(0, 360), rng.uniform(0, 1), rng.uniform(0.05, 1)
    else:
        hue, saturation, value = NATURAL[rng.integers(len(NATURAL))]
        hue = (hue + rng.normal(0, 15)) % 360
        saturation, value = saturation + rng.normal(0, 0.15), value + rng.normal(0, 0.15)
    hsv = np.array([[[hue, np.clip(saturation, 0, 1), np.clip(value, 0.03, 1)]]], np.float32)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0, 0]


def noise(rng: Rng, cells: float, stretch: float = 1.0, octaves: int = 3, fall: float = 0.6) -> Array:
    """Smooth noise about 0 with about unit deviation, (SIDE, SIDE): octaves of upscaled grids of random numbers.

    `stretch` > 1 draws it out in height, as grass and fur are.
    """
    total = np.zeros((SIDE, SIDE), np.float32)
    weight = 1.0
    for _ in range(octaves):
        rows, columns = (int(np.clip(n, 2, SIDE)) for n in (cells / stretch, cells * stretch))
        grid = rng.standard_normal((rows, columns), np.float32)
        total += weight * cv2.resize(grid, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
        cells, weight = cells * 2, weight * fall
    return total / np.float32(total.std() + 1e-6)


def soft(mask: Array, width: float) -> Array:
    """`mask` with its edge blurred over about `width` pixels."""
    return cv2.GaussianBlur(mask, (0, 0), width) if width > 0.3 else mask


def over(below: Array, above: Array, mask: Array) -> Array:
    """`above` laid over `below` where `mask` is 1."""
    return below + (above - below) * mask[..., None].astype(np.float32)


def texture(rng: Rng, base: Array, strength: float) -> Array:
    """A surface of the colour `base`, (SIDE, SIDE, 3): fine and coarse noise, and at times patches of a second hue."""
    stretch = float(np.exp(rng.normal(0, 0.6)))
    light = noise(rng, rng.uniform(2, 40), stretch, int(rng.integers(2, 5)), rng.uniform(0.5, 1.0))
    surface = base * (1 + strength * light[..., None])
    if chance(rng, 0.5):
        tint = rng.normal(0, 0.5 * strength, 3).astype(np.float32)
        surface = surface + tint * noise(rng, rng.uniform(2, 20), stretch)[..., None]
    if chance(rng, 0.3):
        patches = noise(rng, rng.uniform(2, 12)) > rng.uniform(0.3, 1.5)
        other = (base * 0.5 + colour(rng) * 0.5) * np.ones_like(surface)
        surface = over(surface, other, soft(patches.astype(np.float32), 1) * rng.uniform(0.2, 0.9))
    return surface


def strength(rng: Rng) -> float:
    """How strong a texture is: mostly weak, sometimes strong."""
    return float(np.exp(rng.uniform(np.log(0.02), np.log(0.35))))


def warped(rng: Rng, image: Array, amount: float) -> Array:
    """`image` bent by a smooth random field of about `amount` pixels, so that no edge stays a drawn one."""
    shift = [float(amount) * noise(rng, 5, octaves=3) for _ in range(2)]
    return cv2.remap(image, XX * SIDE + shift[0], YY * SIDE + shift[1], cv2.INTER_LINEAR)
