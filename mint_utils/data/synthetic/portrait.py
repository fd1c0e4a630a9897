"""Paints a chunk of faces: layers of colour first, then the light upon them.

Lengths are half canvases: x to the right and y down, from -1 to 1. (u, v) are the canvas, (x, y)
the outline of the head, turned and scaled, (fx, fy) the features upon it: the outline's coordinates
shifted by how far each point stands out of the plane, which turns the head to the first order.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from mint_utils.data.synthetic.randomness import Draws
from mint_utils.data.synthetic.styles import CHANCES, TRAITS, Style

F = np.float32


def _clip(x: np.ndarray, low: float = 0.0, high: float = 1.0) -> np.ndarray:
    return np.clip(x, F(low), F(high))


def _smooth(x: np.ndarray) -> np.ndarray:
    """Return the smooth step from 0 (x <= 0) to 1 (x >= 1)."""
    x = _clip(x)
    return x * x * (F(3) - F(2) * x)


def _rgb(*colour: float) -> np.ndarray:
    return np.array(colour, F).reshape(3, 1, 1, 1)


def _wave(x: np.ndarray) -> np.ndarray:
    """Return a smooth periodic function of period 1, from -1 to 1."""
    t = x - np.floor(x)
    t = F(2) * np.abs(F(2) * t - F(1)) - F(1)
    return t * (F(1.5) - F(0.5) * t * t)


def _bowl(x, y, cx, cy, rx, ry) -> np.ndarray:
    """Return 1 in the middle of an ellipse, 0 on it, negative outside."""
    a, b = x - cx, y - cy
    a *= F(1) / rx
    b *= F(1) / ry
    a *= a
    b *= b
    return F(1) - (a + b)


class Portrait:
    """B faces on their canvases."""

    def __init__(self, style: Style, person: Draws, occasion: Draws, size: int):
        self.style, self.draws, self.size = style, occasion, size
        self.sharp = F(size / 3)  # of an edge: 1.5 pixels wide
        self.t = {name: person.normal(*how) for name, how in TRAITS.items()}
        self.t |= {name: person.uniform() for name in CHANCES}
        for name in ("tone", "hair_dark", "hair_red", "iris_blue", "iris_green", "age", "jaw"):
            self.t[name] = _clip(self.t[name])
        self._pose()
        self._colours()

    def paint(self) -> np.ndarray:
        """Return the scenes: (3, B, S, S) float32, 1 is white."""
        self._backdrop()
        self._hair_behind()
        self._body()
        self._head()
        self._marks()
        self._beard()
        for side in (-1, 1):
            self._eye(side)
        self._nose()
        self._mouth()
        self._hair()
        self._before_the_face()
        self._light()
        return self.canvas

    def _pose(self) -> None:
        """Set the coordinates: (x, y) of the head's outline, (fx, fy) of the features upon it."""
        style, draws, t = self.style, self.draws, self.t
        self.yaw = _clip(draws.normal(0, style.yaw), -0.42, 0.42)
        self.pitch = _clip(draws.normal(0.01, style.pitch), -0.22, 0.22)
        self.sine = _clip(draws.normal(0, style.roll), -0.45, 0.45)
        self.cosine = np.sqrt(F(1) - self.sine * self.sine)
        self.zoom = _clip(draws.normal(*style.scale), 0.6, 1.2)
        self.dx, self.dy = draws.normal(0, style.shift), draws.normal(0.02, style.shift)
        grid = (np.arange(self.size, dtype=F) + F(0.5)) * F(2 / self.size) - F(1)
        self.u, self.v = np.broadcast_arrays(grid[None, None, :], grid[None, :, None])
        u, v = (
            (grid[None, None, :] - self.dx) / self.zoom,
            (grid[None, :, None] - self.dy) / self.zoom,
        )
        self.x, self.y = u * self.cosine + v * self.sine, v * self.cosine - u * self.sine
        a, b = self.x / t["head_width"], (self.y - F(0.05)) / F(1.0)
        self.ball = np.sqrt(np.maximum(F(1) - a * a - F(0.55) * b * b, F(0)))
        self.fx, self.fy = self.x - self.yaw * self.ball, self.y - self.pitch * self.ball
        self.nx, self.ny = a, b
        self.canvas = np.empty((3, len(self.dx), self.size, self.size), F)

    def _colours(self) -> None:
        t, draws = self.t, self.draws
        light, mid, dark = _rgb(0.95, 0.78, 0.67), _rgb(0.76, 0.54, 0.40), _rgb(0.34, 0.21, 0.15)
        tone = t["tone"] + draws.normal(0, 0.03)  # tan
        self.skin = np.where(
            tone < F(0.5),
            light + (mid - light) * F(2) * tone,
            mid + (dark - mid) * (F(2) * tone - F(1)),
        )
        self.skin = self.skin + _rgb(1, 0, -1) * t["warmth"]
        self.age = _clip(t["age"] + draws.normal(0, self.style.ageing))
        fair = (
            _rgb(0.80, 0.63, 0.38)
            + (_rgb(0.62, 0.27, 0.10) - _rgb(0.80, 0.63, 0.38)) * t["hair_red"]
        )
        colour = fair + (_rgb(0.09, 0.07, 0.06) - fair) * np.sqrt(t["hair_dark"])
        grey = _smooth((self.age - F(0.65)) * F(3))
        self.hair = colour + (_rgb(0.66, 0.65, 0.64) - colour) * grey
        iris = (
            _rgb(0.27, 0.15, 0.07)
            + (_rgb(0.36, 0.52, 0.68) - _rgb(0.27, 0.15, 0.07)) * t["iris_blue"]
        )
        self.iris = iris + (_rgb(0.34, 0.43, 0.22) - iris) * t["iris_green"] * F(0.7)
        lips = self.skin * _rgb(0.82, 0.55, 0.55)
        self.lips = lips + (_rgb(0.72, 0.16, 0.20) - lips) * _clip(
            t["lip_red"] + draws.normal(0, 0.2)
        ) * F(0.55)

    # A feature is painted through a window: the part of the canvases that it can reach.

    @contextmanager
    def _window(self, left, right, top, bottom) -> Iterator[tuple[slice, ...]]:
        """Work on the part of the canvases that a feature can reach: saves time, changes nothing.

        Bounds are in coordinates of the head or of its features, arrays or scalars.
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

        window = (slice(None), pixels(low_v, high_v, self.dy), pixels(low_u, high_u, self.dx))
        with self._part(window):
            yield window

    @contextmanager
    def _part(self, part: tuple[slice, ...]) -> Iterator[None]:
        whole, self.canvas = self.canvas, self.canvas[(slice(None), *part)].copy()
        yield
        whole[(slice(None), *part)] = self.canvas
        self.canvas = whole

    def _paint(self, mask: np.ndarray, colour: np.ndarray) -> None:
        change = colour - self.canvas
        change *= mask
        self.canvas += change

    def _shade(self, mask: np.ndarray, factor: tuple[float, float, float]) -> None:
        """Multiply the image by a factor for each channel where the mask is 1."""
        change = mask * (_rgb(*factor) - F(1))
        change += F(1)
        self.canvas *= change

    def _ellipse(self, x, y, cx, cy, rx, ry, sharp=None) -> np.ndarray:
        """Return a mask with an edge; ``sharp`` is its inverse width, by default 1.5 pixels."""
        sharp = self.sharp * self.zoom if sharp is None else F(sharp)
        d = _bowl(x, y, cx, cy, rx, ry)
        d *= F(0.5) * sharp * np.minimum(rx, ry)
        d += F(0.5)
        return np.clip(d, F(0), F(1), out=d)

    def _blob(self, x, y, cx, cy, rx, ry) -> np.ndarray:
        """Return a mask that falls smoothly from its middle to an ellipse."""
        d = _bowl(x, y, cx, cy, rx, ry)
        np.maximum(d, F(0), out=d)
        d *= d
        return d

    def _backdrop(self) -> None:
        draws, style = self.draws, self.style
        one, two = draws.colour(*style.backdrop, 0.09), draws.colour(*style.backdrop, 0.09)
        a, b = draws.normal(0, 0.5), draws.normal(0, 0.5)
        ramp = _smooth(self.u * a + self.v * b + F(0.5))
        for c in range(3):
            self.canvas[c] = one[c] + ramp * (two[c] - one[c])
        for _ in range(2):  # things out of focus
            x, y = draws.normal(0, 0.7), draws.normal(-0.3, 0.6)
            spot = self._ellipse(
                self.u,
                self.v,
                x,
                y,
                F(0.15) + F(0.3) * draws.uniform(),
                F(0.15) + F(0.4) * draws.uniform(),
                6,
            )
            self._paint(spot * F(0.8 * style.texture), draws.colour(*style.backdrop, 0.09))

    def _hair_behind(self) -> None:
        t = self.t
        self.full = _clip((t["bald"] - F(0.08)) * F(50))  # 0 for the bald, 1 else
        self.volume = _clip(t["hair_volume"] + self.draws.normal(0, 0.015), 0.03, 0.3)
        long = t["long_hair"] > F(0.5)
        rx, ry = t["head_width"] + self.volume, F(0.85) + self.volume
        self.crown = self._ellipse(self.x, self.y, F(0), F(-0.18), rx, ry)
        fall = _clip((rx * F(1.02) - np.abs(self.x)) * self.sharp + F(0.5)) * _clip(
            (self.y + F(0.18)) * self.sharp
        )
        length = F(0.35) + F(0.9) * t["fringe"]
        fall = fall * _smooth((length - self.y) * F(4)) * long
        self._paint(np.maximum(self.crown, fall) * self.full, self.hair * F(0.72))

    def _body(self) -> None:
        t, draws = self.t, self.draws
        cloth = draws.colour(0.40, 0.24, 0.11)
        rx, ry = F(1.25) + draws.normal(0, 0.08), F(0.78) + draws.normal(0, 0.04)
        with self._window(F(-0.6), F(0.6), F(-0.1), F(1.8)) as window:
            x, y = self.x[window], self.y[window]
            column = (t["head_width"] * F(0.62) - np.abs(x)) * self.sharp + F(0.5)
            self._paint(_clip(column) * _clip(y * self.sharp), self.skin * F(0.80))
        with self._window(F(-1.8), F(1.8), F(0.7), F(1.8)) as window:
            x, y = self.x[window], self.y[window]
            self._paint(self._ellipse(x, y, F(0), F(1.75), rx, ry), cloth)
        with self._window(F(-0.6), F(0.6), F(0.4), F(1.35)) as window:
            x, y = self.x[window], self.y[window]
            collar = self._ellipse(x, y, F(0), F(0.86), t["head_width"] * F(0.55), F(0.32))
            self._paint(collar, self.skin * F(0.74))

    def _head(self) -> None:
        t = self.t
        for side in (-1, 1):
            width = np.maximum(t["ear"], F(0.08)) * _clip(F(1) - F(2.6 * side) * self.yaw, 0.4, 1.0)
            cx = F(side) * (t["head_width"] - F(0.02))
            with self._window(cx - F(0.2), cx + F(0.2), F(-0.45), F(0.55)) as window:
                mask = self._ellipse(
                    self.x[window],
                    self.y[window],
                    cx,
                    F(0.05) + self.pitch * F(0.5),
                    width,
                    F(0.20),
                )
                self._paint(mask, self.skin * F(0.88))
                mask = self._ellipse(
                    self.x[window], self.y[window], cx, F(0.05), width * F(0.5), F(0.12), 20
                )
                self._paint(mask * F(0.6), self.skin * F(0.66))
        # Half the width of the head at height y: a circle above, between oval and square below.
        up, low = self.y * F(1.026), self.y / (t["chin"] + self.pitch * F(0.25))
        up, low = up * up, low * low
        square = F(0.2) + t["jaw"] * F(0.75)
        lower = low * (F(1) - square + square * low)
        half = np.sqrt(np.maximum(F(1) - np.where(self.y < F(0), up, lower), F(0)))
        half *= t["head_width"]
        beside = half - np.abs(self.x)
        self.head = _clip(beside * (self.sharp * self.zoom) + F(0.5)) * (half > F(0))
        with self._window(F(-1.1), F(1.1), F(0.5), F(1.2)) as window:
            y = self.y[window]
            under = _clip((beside[window] + F(0.16)) * F(5)) * _smooth((y - F(0.55)) * F(4))
            self._shade(under * _smooth((F(1.15) - y) * F(4)) * F(0.55), (0.55, 0.5, 0.5))
        self._paint(self.head, self.skin)

    def _marks(self) -> None:
        """Paint what lies in the skin: blush, freckles, moles, lines of age."""
        t, draws = self.t, self.draws
        blush = F(0.5) * _clip(t["lip_red"]) + F(0.15) * draws.uniform()
        for side in (-1, 1):
            with self._window(
                F(side * 0.36 - 0.22), F(side * 0.36 + 0.22), F(-0.02), F(0.42)
            ) as window:
                spot = self._blob(
                    self.fx[window], self.fy[window], F(side * 0.36), F(0.2), F(0.22), F(0.2)
                )
                self._shade(spot * blush, (1.06, 0.78, 0.78))
        with self._window(F(-0.55), F(0.55), F(-0.14), F(0.38)) as window:
            x, y = self.fx[window], self.fy[window]
            freckled = _clip((t["freckles"] - F(0.78)) * F(6)) * F(0.30)
            dots = _wave(x * F(8.3) + y * F(3.1)) * _wave(y * F(9.1) - x * F(2.7))
            where = self._blob(x, y, F(0), F(0.12), F(0.5), F(0.24)) * freckled
            self._shade(_smooth(dots * F(2) - F(0.2)) * where, (0.62, 0.48, 0.4))
        for k in (1, -1):
            cx, cy = _clip(t["mole_x"] * F(k), -0.42, 0.42), t["mole_y"] + F(0.17 * (k - 1))
            with self._window(cx - F(0.05), cx + F(0.05), cy - F(0.05), cy + F(0.05)) as window:
                dot = self._ellipse(self.fx[window], self.fy[window], cx, cy, F(0.026), F(0.026))
                self._shade(dot * (t["mole"] > F(0.45 + 0.2 * k)), (0.42, 0.34, 0.32))
        lines = _smooth((self.age - F(0.4)) * F(1.7)) * F(self.style.texture)
        for side in (-1, 1):  # from the nose to the corners of the mouth
            with self._window(
                F(side * 0.26 - 0.14), F(side * 0.26 + 0.14), F(0.14), F(0.58)
            ) as window:
                x, y = self.fx[window] * F(side), self.fy[window]
                fold = np.abs(x - F(0.15) - (y - F(0.2)) * F(0.32))
                fold = (
                    _clip(F(1) - fold * F(22))
                    * _smooth((y - F(0.16)) * F(6))
                    * _smooth((F(0.52) - y) * F(6))
                )
                self._shade(fold * (lines * F(0.5) + F(0.1)), (0.62, 0.5, 0.45))
        with self._window(F(-0.4), F(0.4), F(-0.56), F(-0.26)) as window:
            x, y = self.fx[window], self.fy[window]
            rows = np.maximum(_wave((y + F(0.12) * x * x) * F(11)), F(0)) * self._blob(
                x, y, F(0), F(-0.41), F(0.4), F(0.14)
            )
            self._shade(rows * lines * F(0.45), (0.65, 0.55, 0.5))

    def _beard(self) -> None:
        t, draws = self.t, self.draws
        grown = _clip((t["beard"] - F(0.62)) * F(4) + draws.normal(0, 0.12))
        grown = grown * (t["beard"] > F(0.62)) * F(0.85)
        with self._window(F(-0.8), F(0.8), F(0.16), F(1.1)) as window:
            x, y = self.fx[window], self.fy[window]
            cheeks = _smooth((y - F(0.24) - F(0.9) * x * x) * F(6)) * self.head[window]
            mouth = self._blob(x, y, F(0), t["mouth_height"], F(0.26), F(0.16))
            self._paint(cheeks * _clip(F(1) - F(1.7) * mouth) * grown, self.hair * F(0.9))
        lip = _clip((t["moustache"] - F(0.6)) * F(5) + draws.normal(0, 0.1)) * F(0.9)
        lip = lip * (t["moustache"] > F(0.6)) * (t["beard"] > F(0.45))
        cy = t["mouth_height"] - F(0.09)
        with self._window(F(-0.26), F(0.26), cy - F(0.08), cy + F(0.08)) as window:
            over = self._blob(self.fx[window], self.fy[window], F(0), cy, F(0.24), F(0.075))
            self._paint(_clip(over * F(2.2)) * lip, self.hair * F(0.9))

    def _eye(self, side: int) -> None:
        t, draws = self.t, self.draws
        if side < 0:  # drawn once, the same for both eyes
            force = F(self.style.expression)
            self.lids = _clip(F(1) + draws.normal(0, 0.22) * force, 0.12, 1.5)
            self.raised = draws.normal(0, 0.018) * force
            self.frown = draws.normal(0, 0.07) * force
            self.gaze = (draws.normal(0, 0.018), draws.normal(0, 0.008))
        cx, cy = F(side) * t["eye_gap"], t["eye_height"]
        with self._window(cx - F(0.28), cx + F(0.28), cy - F(0.5), cy + F(0.26)) as window:
            fx, fy = self.fx[window], self.fy[window]
            x, y = (fx - cx) * F(side), fy - cy  # x grows outwards
            y = y + x * t["eye_slant"]
            w = t["eye_width"]
            socket = self._blob(x, y, F(-0.01), F(-0.04), F(0.22), F(0.17))
            self._shade(socket * F(0.5), (0.72, 0.62, 0.58))
            bag = self._blob(x, y, F(0), F(0.085), w, F(0.04))
            self._shade(bag * self.age * F(0.5), (0.7, 0.6, 0.6))
            a = x / w
            arc = np.maximum(F(1) - a * a, F(0))
            height = t["eye_open"] * self.lids
            upper, lower = -arc * height, arc * height * F(0.62)
            inside = np.minimum(y - upper, lower - y)
            edge = self.sharp * self.zoom
            within = _clip((w - np.abs(x)) * edge + F(0.5))
            white = _clip(inside * edge + F(0.5)) * within
            self._paint(white, _rgb(0.93, 0.91, 0.89))
            gx, gy = self.gaze
            ix = cx + gx + self.yaw * F(0.05)
            r = t["iris"]
            iris = self._ellipse(fx, y, ix, gy, r, r) * white
            self._paint(iris, self.iris)
            pupil = self._ellipse(fx, y, ix, gy, r * F(0.48), r * F(0.48)) * white
            self._paint(pupil, _rgb(0.04, 0.03, 0.03))
            glint = self._ellipse(fx, y, ix + F(0.018), gy - F(0.02), F(0.016), F(0.016)) * white
            self._paint(glint * F(0.9), _rgb(1, 1, 1))
            self._shade(_clip((upper + F(0.035) - y) * F(28)) * white, (0.6, 0.57, 0.57))
            lash = _clip(F(1) - np.abs(y - upper) * F(46)) * within * (arc > F(0))
            self._paint(lash * F(0.85), self.hair * F(0.35))
            crease = _clip(F(1) - np.abs(y - upper + F(0.038)) * F(40)) * arc
            self._shade(crease * F(0.45), (0.6, 0.5, 0.47))
            under = _clip(F(1) - np.abs(y - lower) * F(40)) * arc
            self._shade(under * F(0.3), (0.6, 0.5, 0.47))
            bx, by = x - F(0.01), fy - cy + t["brow_height"] + self.raised
            bow = by - t["brow_arch"] * bx * bx + (t["brow_slant"] + self.frown) * bx
            taper = _clip((F(1.35) * w - np.abs(bx)) * F(14))
            thick = t["brow_thick"] * (F(1.05) - F(2.2) * _clip(bx, 0, 0.2))
            brow = _clip((thick - np.abs(bow)) * np.minimum(edge, F(30)) + F(0.4)) * taper
            self._paint(brow * F(0.88), self.hair * F(0.62))

    def _nose(self) -> None:
        t = self.t
        tip, w = t["nose_tip"] + self.pitch * F(0.15), t["nose_width"]
        with self._window(F(-0.42), F(0.42), F(-0.26), F(0.52)) as window:
            x, y = self.fx[window] - self.yaw * F(0.22), self.fy[window]
            down = _smooth((y + F(0.16)) / (tip + F(0.16)))  # 0 at the root, 1 at the tip
            end = _smooth((tip + F(0.06) - y) * F(12))
            a = x / (w * (F(0.55) + F(0.75) * down))
            d = np.maximum(F(1) - a * a * F(0.5), F(0))
            self.slope = a * d * d * down * end * (F(0.5) + F(0.6) * t["nose_bridge"]), window
            ridge = self._blob(a, y, F(0), F(0.05), F(0.7), F(0.3))
            self._shade(ridge * (F(0.3) + F(0.35) * t["nose_bridge"]), (1.12, 1.12, 1.12))
            ball = self._blob(x, y, F(0), tip - F(0.03), w * F(0.8), F(0.07))
            self._shade(ball, (1.12, 1.09, 1.08))
            below = self._blob(x, y, F(0), tip + F(0.05), w * F(1.3), F(0.055))
            self._shade(below * F(0.8), (0.62, 0.52, 0.48))
            for side in (-1, 1):
                wing = self._blob(x, y, F(side) * w, tip + F(0.005), w * F(0.42), F(0.075))
                self._shade(wing * F(0.55), (0.66, 0.55, 0.5))
                hole = self._ellipse(
                    x, y, F(side) * w * F(0.52), tip + F(0.035), w * F(0.26), F(0.018), 14
                )
                self._paint(hole * F(0.75), self.skin * F(0.28))

    def _mouth(self) -> None:
        t, draws = self.t, self.draws
        force = F(self.style.expression)
        smile = draws.normal(0.25, 0.35) * force
        gape = np.maximum(draws.normal(-0.01, 0.038), F(0)) * force
        cy, w = t["mouth_height"] + self.pitch * F(0.1), t["mouth_width"] * (F(1) + F(0.12) * smile)
        with self._window(
            F(-0.42), F(0.42), cy - F(0.26), np.maximum(cy + F(0.4), t["chin"])
        ) as window:
            x, y = self.fx[window] - self.yaw * F(0.06), self.fy[window]
            a = x / w
            a2 = a * a
            y = y - cy + smile * F(0.07) * a2  # corners up
            arc = np.maximum(F(1) - a2, F(0))
            edge = self.sharp * self.zoom
            bow = F(1) - F(0.35) * np.maximum(F(1) - a2 * F(18), F(0))  # the cleft of the upper lip
            top, bottom = (
                -arc * t["lip_upper"] * bow - gape * arc,
                arc * np.sqrt(arc) * t["lip_lower"] + gape * arc,
            )
            lips = _clip(np.minimum(y - top, bottom - y) * edge + F(0.5)) * (arc > F(0))
            self._paint(lips * F(0.92), self.lips)
            self._shade(
                self._blob(x, y, F(0), bottom, w * F(0.5), F(0.03)) * lips,
                (1.22, 1.18, 1.18),
            )
            self._shade(lips * _clip(-y * F(20)), (0.86, 0.82, 0.82))
            opening = np.minimum(y + gape * arc, gape * arc - y)
            inside = _clip(opening * edge + F(0.35)) * _clip(arc * F(4))
            self._paint(inside, _rgb(0.16, 0.05, 0.05))
            teeth = (
                _clip((gape * F(0.35) - y) * edge + F(0.3))
                * _smooth(gape * F(30))
                * inside
                * _clip(arc * F(2.5))
            )
            self._paint(teeth, _rgb(0.93, 0.91, 0.86))
            line = (
                _clip(F(1) - np.abs(y) * F(50)) * _clip(F(1.08) - a2) * _clip(F(1) - gape * F(60))
            )
            self._paint(line * F(0.75), self.skin * _rgb(0.36, 0.22, 0.2))
            self._shade(
                self._blob(x, y, F(0), bottom + F(0.05), w * F(0.7), F(0.04)) * F(0.6),
                (0.7, 0.6, 0.56),
            )
            chin = self._blob(x, self.fy[window], F(0), t["chin"] - F(0.13), F(0.17), F(0.12))
            self._shade(chin * F(0.6), (1.1, 1.08, 1.07))

    def _hair(self) -> None:
        t = self.t
        line = t["hairline"] + F(0.25) * self.age * (t["beard"] > F(0.55)) * F(-0.35)
        x, y = self.fx, self.fy
        away = x - t["hair_part"]
        edge = line + t["hair_curve"] * F(0.75) * away * away  # arch of the hairline
        edge = edge + F(0.30) * _clip((t["fringe"] - F(0.72)) * F(8)) * _clip(F(1.1) - away * away)
        sides = _smooth((np.abs(self.nx) - F(0.88)) * F(9)) * _smooth((F(0.12) - y) * F(6))
        strand = _wave(x * t["hair_wave"] * F(0.5) + y * F(1.7) + t["hair_part"] * F(7))
        edge = edge + strand * F(0.014)
        top = _clip((edge - y) * self.sharp * F(0.8) + F(0.5))
        mask = np.maximum(top, sides) * self.crown * self.full
        gloss = self._blob(x, y, t["hair_part"] * F(0.5), line - F(0.17), F(0.55), F(0.16))
        tint = F(0.92) + F(self.style.texture) * F(0.13) * strand + F(0.35) * gloss
        for c in range(3):
            part = self.canvas[c]
            part += mask * (self.hair[c] * tint - part)
        cast = _clip((edge + F(0.09) - y) * F(9)) * (F(1) - mask) * self.head * self.full
        self._shade(cast * F(0.45), (0.66, 0.56, 0.52))

    def _before_the_face(self) -> None:
        """Paint glasses, a hat, and whatever comes between the camera and the face."""
        t, draws, style = self.t, self.draws, self.style
        wears = (t["glasses"] * F(0.8) + draws.uniform() * F(0.4)) > F(0.82)
        frame = draws.colour(0.15, 0.12, 0.04)
        with self._window(F(-0.64), F(0.64), F(-0.38), F(0.2)) as window:
            x, y = (
                self.fx[window] - self.yaw * F(0.08),
                self.fy[window] - t["eye_height"] - F(0.015),
            )
            a, b = (np.abs(x) - t["eye_gap"]) / F(0.2), y / F(0.145)
            ring = np.abs(np.sqrt(a * a * a * a + b * b * b * b) - F(0.95))
            bridge = _clip(F(1) - np.abs(y + F(0.03)) * F(34)) * (
                np.abs(x) < t["eye_gap"] - F(0.18)
            )
            rim = np.maximum(_clip(F(1.1) - ring * F(5.5)), bridge) * wears
            self._paint(rim * F(0.9), frame)
            tinted = (a * a + b * b < F(1)) * wears * (draws.uniform() < F(0.2))
            self._shade(tinted * F(0.75), (0.25, 0.25, 0.28))
        hat = draws.uniform() < F(0.4 * style.occlusion)
        colour, brim = draws.colour(0.38, 0.22, 0.12), F(-0.46) + draws.normal(0, 0.04)
        for one in self._those(hat):
            x, y = self.x[one], self.y[one]
            bend = brim[one] + F(0.16) * x * x
            felt = _clip((bend - y) * self.sharp + F(0.5))
            width = t["head_width"][one] + F(0.22)
            felt *= self._ellipse(x, y, F(0), F(-0.3), width, F(1.0), self.sharp)
            with self._part((one,)):
                self._paint(felt, colour[:, one])
                self._shade(felt * _clip((y - bend + F(0.1)) * F(10)), (0.75, 0.75, 0.75))
        held = draws.uniform() < F(0.6 * style.occlusion)
        cx, cy = draws.normal(0, 0.55), draws.normal(0.72, 0.2)
        rx, ry = F(0.12) + F(0.2) * draws.uniform(), F(0.2) + F(0.3) * draws.uniform()
        colour = draws.colour(0.45, 0.22, 0.10)
        for one in self._those(held):
            where = (self.u[0], self.v[0], cx[one], cy[one], rx[one], ry[one], self.sharp)
            with self._part((one,)):
                self._paint(self._ellipse(*where), colour[:, one])

    def _those(self, chosen: np.ndarray) -> list[slice]:
        """Return the chosen faces one by one; for what few of them have."""
        return [slice(i, i + 1) for i in np.flatnonzero(chosen)]

    def _light(self) -> None:
        """Light the painted surface: a lamp to the side and above, the sky, the camera's flash."""
        draws, style = self.draws, self.style
        side, above = draws.normal(0, style.light), draws.normal(0.18, 0.12)
        side, above = _clip(side, -0.8, 0.8) * F(1 - style.frontal), above * F(1 - style.frontal)
        lit = self.ball * F(0.55) + self.nx * side - self.ny * above
        slope, window = self.slope
        lit[window] += slope * side * F(1.1) * self.head[window]
        shade = F(0.62) + _clip(lit, -0.45, 0.75) * F(0.75)
        body = F(0.92) + side * F(0.25) * self.u
        self.canvas *= body + self.head * (shade - body)
        shine = self._blob(self.fx, self.fy, side * F(0.5), F(-0.33), F(0.3), F(0.2)) * F(
            0.05 + 0.1 * style.frontal
        )
        self.canvas += shine * self.head
