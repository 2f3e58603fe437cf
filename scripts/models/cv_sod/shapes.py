"""The objects of the scenes of `cv_sod` as bare shapes: blobs, beasts, people, furniture, birds.

Each is a list of parts: masks (SHEET, SHEET) in drawing order. All is drawn about the middle of the sheet, some 100
pixels tall; `scenes` turns, scales and bends it into the picture. `SHAPES` says how often each is seen.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from models.cv_sod.brushes import Array, Rng, chance

#: Side of the sheet in pixels: finer than the picture, for soft edges and thin legs.
SHEET = 160


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
    rump = np.array([80 - length, 74.0])
    limb(legs, rump, rump + np.array([-rng.uniform(2, 12), rng.uniform(-10, 35)]), 2, 1)
    cv2.ellipse(body, (80, 78), (int(length), int(depth)), rng.normal(0, 5), 0, 360, 1.0, -1)
    shoulder = np.array([80 + length * 0.75, 76 - depth * 0.3])
    crown = shoulder + np.array([rng.uniform(4, 22), rng.uniform(-45, 18)])
    limb(body, shoulder, crown, depth * rng.uniform(0.5, 0.9), depth * rng.uniform(0.3, 0.6))
    size = depth * rng.uniform(0.45, 0.75)
    limb(head, crown, crown + np.array([size * rng.uniform(0.8, 2), size * rng.uniform(0, 1)]), size, size * 0.6)
    for ear in (-0.6, 0.3):
        root = crown + np.array([ear * size, -size * 0.6])
        limb(head, root, crown + np.array([ear * size * 1.8, -size * rng.uniform(1.2, 2)]), 3, 1)
    return [legs, body, head]


def person(rng: Rng) -> list[Array]:
    """A standing figure: legs, clothes, arms, head and hair."""
    legs, coat, skin, hair = canvas(), canvas(), canvas(), canvas()
    wide = rng.uniform(9, 16)
    for side in (-1, 1):
        hip = np.array([80 + side * wide * 0.5, 88.0])
        limb(legs, hip, hip + np.array([side * rng.uniform(0, 10), 46]), wide * 0.5, wide * 0.35)
        shoulder = np.array([80 + side * wide, 58.0])
        hand = shoulder + np.array([side * rng.uniform(0, 20), rng.uniform(-20, 34)])
        limb(coat, shoulder, hand, wide * 0.35, wide * 0.25)
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
        end = foot + np.array([0, rng.uniform(2, 24)])
        limb(legs, foot, end, *(rng.uniform(6, 11, 2) if chance(rng, 0.4) else (2, 2)))
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
    half = (int(rng.uniform(20, 40)), int(rng.uniform(8, 16)))
    cv2.ellipse(body, (80, 80), half, rng.normal(0, 15), 0, 360, 1.0, -1)
    limb(body, np.array([100.0, 76.0]), np.array([112.0, 68.0]), 9, 6)
    return [wings, body]


SHAPES: tuple[tuple[Callable[[Rng], list[Array]], float], ...] = (
    (beast, 0.36), (blob, 0.16), (person, 0.1), (portrait, 0.12), (solid, 0.1), (furniture, 0.1), (bird, 0.06),
)  # fmt: skip
