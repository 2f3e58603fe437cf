"""Procedural pictures with known objects: what the demo model `cv_sod` learns from.

`scene(seed)` returns a picture and the mask of its objects. Nothing is read from disk: grounds, objects, textures,
light and camera faults are all drawn from the seed, so the same seed gives the same picture on the same machine.
Pictures are float32 RGB in 0..1; masks are float32 in 0..1.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

Array = np.ndarray
Rng = np.random.Generator

#: Side of a picture in pixels, and of the sheet on which a shape is drawn before it is scaled into the picture:
#: finer, for soft edges and thin legs.
SIDE, SHEET = 64, 160

YY, XX = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32) / SIDE

#: HSV centres (hue in degrees) of what outdoor and indoor pictures are full of: foliage, dry grass, sky, earth, ...
NATURAL = (
    (95, 0.6, 0.5),
    (75, 0.5, 0.6),
    (120, 0.4, 0.3),
    (210, 0.5, 0.8),
    (205, 0.2, 0.9),
    (30, 0.45, 0.45),
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
        other = base * 0.5 + colour(rng) * 0.5
        surface = over(
            surface,
            other * np.ones_like(surface),
            soft(patches.astype(np.float32), 1) * rng.uniform(0.2, 0.9),
        )
    return surface


def strength(rng: Rng) -> float:
    """How strong a texture is: mostly weak, sometimes strong."""
    return float(np.exp(rng.uniform(np.log(0.02), np.log(0.35))))


# -- grounds -------------------------------------------------------------------------------------------------------


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


# -- objects -------------------------------------------------------------------------------------------------------
# Each shape is a list of parts: masks in drawing order. All is drawn about the middle of the canvas, some 100 pixels
# tall, and then placed, turned, scaled and bent by `placed`.


def canvas() -> Array:
    """An empty mask."""
    return np.zeros((SHEET, SHEET), np.float32)


def blob(rng: Rng) -> list[Array]:
    """A closed curve with a few random harmonics."""
    turn = np.linspace(0, 2 * np.pi, 72, endpoint=False)
    radius = np.ones_like(turn)
    for k in range(1, 6):
        radius += rng.normal(0, 0.28 / k) * np.cos(k * turn + rng.uniform(0, 2 * np.pi))
    radius = np.clip(radius, 0.25, 2) * 42
    ratio = np.exp(rng.normal(0, 0.3))
    points = np.stack([80 + radius * np.cos(turn) * ratio, 80 + radius * np.sin(turn) / ratio], 1)
    mask = canvas()
    cv2.fillPoly(mask, [points.astype(np.int32)], 1.0)
    return [mask]


def solid(rng: Rng) -> list[Array]:
    """A disc, an ellipse, a box or a many-sided thing."""
    mask = canvas()
    half = rng.uniform(25, 55, 2)
    if chance(rng, 0.4):
        cv2.ellipse(mask, (80, 80), (int(half[0]), int(half[1])), 0, 0, 360, 1.0, -1)
    else:
        sides = int(rng.integers(3, 8))
        turn = np.sort(rng.uniform(0, 2 * np.pi, sides)) if sides != 4 else np.pi / 4 + np.arange(4) * np.pi / 2
        cv2.fillPoly(mask, [(80 + half * np.stack([np.cos(turn), np.sin(turn)], 1)).astype(np.int32)], 1.0)
    return [mask]


def limb(mask: Array, start: Array, end: Array, wide: float, narrow: float) -> None:
    """A tapering limb from `start` to `end`, drawn into `mask`."""
    for share in np.linspace(0, 1, 10):
        at = start + (end - start) * share
        cv2.circle(mask, (int(at[0]), int(at[1])), max(1, round(wide + (narrow - wide) * share)), 1.0, -1)


def beast(rng: Rng) -> list[Array]:
    """A four-legged animal from the side: legs, body, neck and head, tail, from dachshund to giraffe."""
    length, depth = rng.uniform(20, 42), rng.uniform(10, 21)
    legs, body, head = canvas(), canvas(), canvas()
    reach = rng.uniform(0.2, 1.4) * 34
    width = rng.uniform(2, 6.5)
    for side in (-0.85, -0.6, 0.55, 0.85):
        top = np.array([80 + side * length * 0.9, 78 + depth * 0.3])
        limb(legs, top, top + np.array([rng.normal(0, 5), depth * 0.7 + reach]), width * 1.5, width * 0.7)
    limb(
        legs,
        np.array([80 - length, 74.0]),
        np.array([80 - length - rng.uniform(2, 12), 74 + rng.uniform(-10, 35)]),
        2,
        1,
    )
    cv2.ellipse(body, (80, 78), (int(length), int(depth)), rng.normal(0, 5), 0, 360, 1.0, -1)
    shoulder = np.array([80 + length * 0.75, 76 - depth * 0.3])
    crown = shoulder + np.array([rng.uniform(4, 22), rng.uniform(-45, 18)])
    limb(body, shoulder, crown, depth * rng.uniform(0.5, 0.9), depth * rng.uniform(0.3, 0.6))
    size = depth * rng.uniform(0.45, 0.75)
    limb(head, crown, crown + np.array([size * rng.uniform(0.8, 2), size * rng.uniform(0, 1)]), size, size * 0.6)
    for ear in (-0.6, 0.3):
        limb(
            head,
            crown + np.array([ear * size, -size * 0.6]),
            crown + np.array([ear * size * 1.8, -size * rng.uniform(1.2, 2)]),
            3,
            1,
        )
    return [legs, body, head]


def person(rng: Rng) -> list[Array]:
    """A standing figure: legs, clothes, arms, head and hair."""
    legs, coat, skin, hair = canvas(), canvas(), canvas(), canvas()
    wide = rng.uniform(9, 16)
    for side in (-1, 1):
        hip = np.array([80 + side * wide * 0.5, 88.0])
        limb(legs, hip, hip + np.array([side * rng.uniform(0, 10), 46]), wide * 0.5, wide * 0.35)
        shoulder = np.array([80 + side * wide, 58.0])
        limb(
            coat,
            shoulder,
            shoulder + np.array([side * rng.uniform(0, 20), rng.uniform(-20, 34)]),
            wide * 0.35,
            wide * 0.25,
        )
    limb(coat, np.array([80.0, 60.0]), np.array([80.0, 90.0]), wide, wide * rng.uniform(0.7, 1.1))
    cv2.ellipse(skin, (80, 38), (9, 12), 0, 0, 360, 1.0, -1)
    cv2.ellipse(hair, (80, 33), (10, 10), 0, 160, 380, 1.0, -1)
    return [legs, coat, skin, hair]


def portrait(rng: Rng) -> list[Array]:
    """A head with shoulders, of a person or an animal."""
    coat, skin, hair = canvas(), canvas(), canvas()
    wide, tall = rng.uniform(20, 32), rng.uniform(24, 36)
    cv2.ellipse(hair, (80, 62), (int(wide * 1.15), int(tall * 1.15)), 0, 170, 370, 1.0, -1)
    cv2.ellipse(coat, (80, 160), (int(rng.uniform(38, 66)), int(rng.uniform(48, 66))), 0, 0, 360, 1.0, -1)
    cv2.rectangle(coat, (int(80 - wide * 0.5), 70), (int(80 + wide * 0.5), 120), 1.0, -1)
    cv2.ellipse(skin, (80, 66), (int(wide), int(tall)), 0, 0, 360, 1.0, -1)
    if chance(rng, 0.5):
        for side in (-1, 1):
            ear = np.array([80 + side * wide * 0.7, 66 - tall * 0.7])
            limb(hair, ear, ear + np.array([side * rng.uniform(2, 12), -rng.uniform(8, 24)]), 8, 2)
        return [coat, hair, skin]
    return [coat, skin, hair]


def furniture(rng: Rng) -> list[Array]:
    """A seat, a table or a vehicle: boxes on legs or wheels."""
    legs, box, top = canvas(), canvas(), canvas()
    half, floor = int(rng.uniform(25, 55)), int(rng.uniform(92, 112))
    for side in (-0.85, 0.85):
        foot = np.array([80 + side * half * rng.uniform(0.7, 1), floor])
        limb(
            legs,
            foot,
            foot + np.array([0, rng.uniform(2, 24)]),
            *(rng.uniform(6, 11, 2) if chance(rng, 0.4) else (2, 2)),
        )
    cv2.rectangle(box, (80 - half, int(rng.uniform(70, 88))), (80 + half, floor), 1.0, -1)
    left, right = sorted(rng.uniform(-half, half, 2)) if chance(rng, 0.5) else (-half, half)
    cv2.rectangle(top, (int(80 + left), int(rng.uniform(40, 66))), (int(80 + right), 88), 1.0, -1)
    return [legs, box, top]


def bird(rng: Rng) -> list[Array]:
    """A bird, a fish or an insect: a body with wings or fins."""
    wings, body = canvas(), canvas()
    for side in (-1, 1):
        tip = np.array([80 + side * rng.uniform(15, 55), 80 - rng.uniform(-15, 45)])
        root = np.array([[70, 80], [90, 80]])
        cv2.fillPoly(wings, [np.vstack([root, tip, tip + rng.normal(0, 12, 2)]).astype(np.int32)], 1.0)
    cv2.ellipse(
        body,
        (80, 80),
        (int(rng.uniform(20, 40)), int(rng.uniform(8, 16))),
        rng.normal(0, 15),
        0,
        360,
        1.0,
        -1,
    )
    limb(body, np.array([100.0, 76.0]), np.array([112.0, 68.0]), 9, 6)
    return [wings, body]


SHAPES: tuple[tuple[Callable[[Rng], list[Array]], float], ...] = (
    (beast, 0.36), (blob, 0.16), (person, 0.1), (portrait, 0.12), (solid, 0.1), (furniture, 0.1), (bird, 0.06),
)  # fmt: skip


def choose(rng: Rng, weighted: tuple) -> Callable:
    """One of the functions of a table, by its weight."""
    weights = np.array([weight for _, weight in weighted])
    return weighted[rng.choice(len(weighted), p=weights / weights.sum())][0]


def warped(rng: Rng, image: Array, amount: float) -> Array:
    """`image` bent by a smooth random field of about `amount` pixels, so that no edge stays a drawn one."""
    shift = [float(amount) * noise(rng, 5, octaves=3) for _ in range(2)]
    return cv2.remap(image, XX * SIDE + shift[0], YY * SIDE + shift[1], cv2.INTER_LINEAR)


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
