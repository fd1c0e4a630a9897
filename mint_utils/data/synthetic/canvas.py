"""The canvases that faces are painted on: coordinates, and what all features are painted with.

Lengths are half canvases: x to the right and y down, from -1 to 1. (u, v) are the canvas, (x, y)
the outline of the head, turned and scaled, (fx, fy) the features upon it: the outline's coordinates
shifted by how far each point stands out of the plane, which turns the head to the first order.

Numbers are float32: plain ones in a formula take the type of the arrays beside them.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from mint_utils.data.synthetic.randomness import Draws
from mint_utils.data.synthetic.styles import CHANCES, TRAITS, Style

F = np.float32
BOUNDED = ("tone", "hair_dark", "hair_red", "iris_blue", "iris_green", "age", "jaw")


def clip(x: np.ndarray, low: float = 0.0, high: float = 1.0) -> np.ndarray:
    """Return x within bounds."""
    return np.clip(x, F(low), F(high))


def smooth(x: np.ndarray) -> np.ndarray:
    """Return the smooth step from 0 (x <= 0) to 1 (x >= 1)."""
    x = clip(x)
    return x * x * (3 - 2 * x)


def rgb(*colour: float) -> np.ndarray:
    """Return a colour that fits the canvases, (3, 1, 1, 1)."""
    return np.array(colour, F).reshape(3, 1, 1, 1)


def wave(x: np.ndarray) -> np.ndarray:
    """Return a smooth periodic function of period 1, from -1 to 1."""
    t = x - np.floor(x)
    t = 2 * np.abs(2 * t - 1) - 1
    return t * (1.5 - 0.5 * t * t)


def blob(x, y, cx, cy, rx, ry) -> np.ndarray:
    """Return a mask that falls smoothly from the middle of an ellipse to its edge."""
    d = _bowl(x, y, cx, cy, rx, ry)
    np.maximum(d, 0, out=d)
    d *= d
    return d


def _bowl(x, y, cx, cy, rx, ry) -> np.ndarray:
    """Return 1 in the middle of an ellipse, 0 on it, negative outside."""
    a, b = x - cx, y - cy
    a *= F(1) / rx
    b *= F(1) / ry
    a *= a
    b *= b
    return 1 - (a + b)


class Canvas:
    """B faces being painted: who they are, how they hold their heads, and the colours so far.

    Attributes:
        image: (3, B, S, S) float32, 1 is white; within a `window` the part of it.
        t: Traits of the persons, (B, 1, 1) each.
    """

    def __init__(self, style: Style, person: Draws, occasion: Draws, size: int):
        self.style, self.draws, self.size = style, occasion, size
        self.sharp = F(size / 3)  # of an edge: 1.5 pixels wide
        self.t = {name: person.normal(*how) for name, how in TRAITS.items()}
        self.t |= {name: person.uniform() for name in CHANCES}
        for name in BOUNDED:
            self.t[name] = clip(self.t[name])
        self._pose()
        self._colours()

    def _pose(self) -> None:
        """Set the coordinates: (x, y) of the head's outline, (fx, fy) of the features upon it."""
        style, draws = self.style, self.draws
        self.yaw = clip(draws.normal(0, style.yaw), -0.42, 0.42)
        self.pitch = clip(draws.normal(0.01, style.pitch), -0.22, 0.22)
        self.sine = clip(draws.normal(0, style.roll), -0.45, 0.45)
        self.cosine = np.sqrt(1 - self.sine * self.sine)
        self.zoom = clip(draws.normal(*style.scale), 0.6, 1.2)
        self.edge = self.sharp * self.zoom
        self.dx, self.dy = draws.normal(0, style.shift), draws.normal(0.02, style.shift)
        grid = (np.arange(self.size, dtype=F) + F(0.5)) * F(2 / self.size) - 1
        self.u, self.v = np.broadcast_arrays(grid[None, None, :], grid[None, :, None])
        u = (grid[None, None, :] - self.dx) / self.zoom
        v = (grid[None, :, None] - self.dy) / self.zoom
        self.x, self.y = u * self.cosine + v * self.sine, v * self.cosine - u * self.sine
        self.nx, self.ny = self.x / self.t["head_width"], self.y - F(0.05)
        ball = 1 - self.nx * self.nx - F(0.55) * self.ny * self.ny
        self.ball = np.sqrt(np.maximum(ball, 0))
        self.fx, self.fy = self.x - self.yaw * self.ball, self.y - self.pitch * self.ball
        self.image = np.empty((3, len(self.dx), self.size, self.size), F)

    def _colours(self) -> None:
        t, draws = self.t, self.draws
        light, mid, dark = rgb(0.95, 0.78, 0.67), rgb(0.76, 0.54, 0.40), rgb(0.34, 0.21, 0.15)
        tone = t["tone"] + draws.normal(0, 0.03)  # tan
        pale, deep = light + (mid - light) * 2 * tone, mid + (dark - mid) * (2 * tone - 1)
        self.skin = np.where(tone < 0.5, pale, deep) + rgb(1, 0, -1) * t["warmth"]
        self.age = clip(t["age"] + draws.normal(0, self.style.ageing))

        def mixed(one: np.ndarray, other: np.ndarray, part: np.ndarray) -> np.ndarray:
            return one + (other - one) * part

        fair = mixed(rgb(0.80, 0.63, 0.38), rgb(0.62, 0.27, 0.10), t["hair_red"])
        colour = mixed(fair, rgb(0.09, 0.07, 0.06), np.sqrt(t["hair_dark"]))
        grey = smooth((self.age - F(0.65)) * 3)
        self.hair = mixed(colour, rgb(0.66, 0.65, 0.64), grey)
        iris = mixed(rgb(0.27, 0.15, 0.07), rgb(0.36, 0.52, 0.68), t["iris_blue"])
        self.iris = iris + (rgb(0.34, 0.43, 0.22) - iris) * t["iris_green"] * F(0.7)
        lips = self.skin * rgb(0.82, 0.55, 0.55)
        red = clip(t["lip_red"] + draws.normal(0, 0.2))
        self.lips = lips + (rgb(0.72, 0.16, 0.20) - lips) * red * F(0.55)

    @contextmanager
    def window(self, left, right, top, bottom) -> Iterator[tuple[slice, ...]]:
        """Work on the part of the canvases that a feature can reach: saves time, changes nothing.

        Bounds are in coordinates of the head or of its features, arrays or numbers.
        """
        left, right = np.minimum(left, left + self.yaw), np.maximum(right, right + self.yaw)
        top, bottom = np.minimum(top, top + self.pitch), np.maximum(bottom, bottom + self.pitch)
        c, s = self.cosine, self.sine
        low_u = left * c - np.maximum(top * s, bottom * s)
        high_u = right * c - np.minimum(top * s, bottom * s)
        low_v = top * c + np.minimum(left * s, right * s)
        high_v = bottom * c + np.maximum(left * s, right * s)

        def pixels(low: np.ndarray, high: np.ndarray, shift: np.ndarray) -> slice:
            first = (float((low * self.zoom + shift).min()) + 1) / 2 * self.size - 1
            last = (float((high * self.zoom + shift).max()) + 1) / 2 * self.size + 2
            return slice(min(max(int(first), 0), self.size - 1), max(min(int(last), self.size), 1))

        at = (slice(None), pixels(low_v, high_v, self.dy), pixels(low_u, high_u, self.dx))
        with self.part(at):
            yield at

    @contextmanager
    def part(self, at: tuple[slice, ...]) -> Iterator[None]:
        """Work on a part of the canvases, (B, S, S)."""
        whole, self.image = self.image, self.image[(slice(None), *at)].copy()
        yield
        whole[(slice(None), *at)] = self.image
        self.image = whole

    def paint(self, mask: np.ndarray, colour: np.ndarray) -> None:
        """Lay a colour over the image where the mask is 1."""
        change = colour - self.image
        change *= mask
        self.image += change

    def shade(self, mask: np.ndarray, *factor: float) -> None:
        """Multiply the image by a factor for each channel where the mask is 1."""
        change = mask * (rgb(*factor) - 1)
        change += 1
        self.image *= change

    def ellipse(self, x, y, cx, cy, rx, ry, sharp=None) -> np.ndarray:
        """Return a mask with an edge; ``sharp`` is its inverse width, by default 1.5 pixels."""
        d = _bowl(x, y, cx, cy, rx, ry)
        d *= F(0.5) * (self.edge if sharp is None else F(sharp)) * np.minimum(F(1) * rx, ry)
        d += F(0.5)
        return np.clip(d, F(0), F(1), out=d)
