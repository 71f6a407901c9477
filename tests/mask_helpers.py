"""A drawn animal with a thin tail and a cast shadow on a lit disc in front of a dark wall, for tests of masks."""

from dataclasses import dataclass

import cv2
import numpy as np

HEIGHT, WIDTH = 288, 320
FINE = 4  # samples per pixel and axis
SHADOW = 0.62  # of the light


def plate(seed: int = 0) -> np.ndarray:
    """Float32 [H, W, 3] in levels: dark wall above, grey rim, white disc with specks."""
    rng = np.random.default_rng(seed)
    rows = np.linspace(0, 1, HEIGHT)[:, None, None]
    wall = 30 + 14 * cv2.GaussianBlur(rng.normal(size=(HEIGHT, WIDTH, 1)), (0, 0), 12)[..., None] * 20 + 10 * rows
    scene = wall * np.array([1.0, 1.02, 0.96])
    pixel = np.stack(np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT)), axis=-1) - [WIDTH / 2, 230]
    radius = np.hypot(pixel[..., 0] / 190, pixel[..., 1] / 90)
    texture = cv2.GaussianBlur(rng.normal(size=(HEIGHT, WIDTH)), (0, 0), 1.5)[..., None]
    scene = np.where((radius < 1.12)[..., None], 75 + 25 * texture, scene)
    scene = np.where((radius < 1)[..., None], np.array([214.0, 211, 204]) + 12 * texture, scene)
    for _ in range(25):
        x, y = rng.integers(60, WIDTH - 60), rng.integers(190, HEIGHT - 10)
        cv2.circle(scene, (int(x), int(y)), 1, (110, 108, 100), -1)
    return cv2.GaussianBlur(scene, (0, 0), 0.8).astype(np.float32)


@dataclass(frozen=True)
class Drawing:
    """An animal: its coverage, that of its tail, its colours [H, W, 3], the light [H, W] that its shadow leaves."""

    coverage: np.ndarray
    tail: np.ndarray
    colour: np.ndarray
    light: np.ndarray

    def over(self, scene: np.ndarray, *, shadow: bool = True) -> np.ndarray:
        """Float32 [H, W, 3] in levels."""
        behind = scene * self.light[..., None] if shadow else scene
        share = self.coverage[..., None]
        return share * self.colour + (1 - share) * behind


def animal(x: float = 150, y: float = 190, *, seed: int = 0) -> Drawing:
    """A body with two ears and legs, dark fur with streaks, and a pinkish tail that ends 1.6 pixels wide."""
    rng = np.random.default_rng(seed)
    at = lambda dx, dy: (round((x + dx) * FINE), round((y + dy) * FINE))  # noqa: E731
    fur, skin, tail = (np.zeros((HEIGHT * FINE, WIDTH * FINE), np.uint8) for _ in range(3))
    cv2.ellipse(fur, at(0, 0), (46 * FINE, 24 * FINE), -14, 0, 360, 1, -1)
    cv2.circle(fur, at(46, -16), 17 * FINE, 1, -1)
    for dx in (-25, 20):
        cv2.ellipse(fur, at(dx, 24), (6 * FINE, 14 * FINE), 0, 0, 360, 1, -1)
    cv2.ellipse(skin, at(40, -32), (7 * FINE, 9 * FINE), 20, 0, 360, 1, -1)
    along = np.linspace(0, 1, 60)
    spine = np.stack([x - 42 - 88 * along, y + 10 + 26 * np.sin(2.2 * along)], axis=1)
    for start, end, share in zip(spine[:-1], spine[1:], along, strict=False):
        ends = [tuple(np.rint(point * FINE).astype(int).tolist()) for point in (start, end)]
        cv2.line(tail, *ends, 1, round((6.0 - 4.4 * share) * FINE))
    whole = np.maximum(np.maximum(fur, skin), tail)
    streaks = cv2.GaussianBlur(rng.normal(size=(HEIGHT, WIDTH)), (0, 0), 3)
    shade = (38 + 100 * streaks)[..., None] * np.array([1.0, 0.97, 0.96])
    pink = np.where((_binned(np.maximum(skin, tail)) > 0.3)[..., None], np.array([178.0, 124, 112]), shade)
    fallen = np.roll(whole, (22 * FINE, 14 * FINE), axis=(0, 1))
    light = 1 - (1 - SHADOW) * cv2.GaussianBlur(_binned(fallen), (0, 0), 3)
    light = np.where(np.arange(HEIGHT)[:, None] > 160, light, 1)  # a wall far behind catches no shadow
    return Drawing(_binned(whole), _binned(tail), np.clip(pink, 8, 255), light)


def photograph(
    scene: np.ndarray, *, gain: float = 1.0, offset: float = 0.0, noise: float = 2.5, seed: int = 0
) -> np.ndarray:
    """Uint8 [H, W, 3] of a scene in levels."""
    rng = np.random.default_rng(seed)
    return np.clip(np.rint(gain * scene + offset + rng.normal(0, noise, scene.shape)), 0, 255).astype(np.uint8)


def iou(first: np.ndarray, second: np.ndarray) -> float:
    """Of two coverages at one half."""
    a, b = first > 0.5, second > 0.5
    return float((a & b).sum() / max((a | b).sum(), 1))


def _binned(fine: np.ndarray) -> np.ndarray:
    return fine.reshape(HEIGHT, FINE, WIDTH, FINE).mean(axis=(1, 3), dtype=np.float32)
