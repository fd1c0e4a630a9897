"""Paints a chunk of faces: layers of colour first, then the light upon them.

Each feature is painted through a window, the part of the canvases that it can reach. Random numbers are
asked for by turn, so the order of features, and of the numbers in each, is part of the pixels.
"""

import numpy as np

from mint_utils.data.synthetic.canvas import Canvas, F, blob, clip, rgb, smooth, wave
from mint_utils.data.synthetic.randomness import Draws
from mint_utils.data.synthetic.styles import Style

SIDES = (-1, 1)


def paint(style: Style, person: Draws, occasion: Draws, size: int) -> np.ndarray:
    """Return the scenes of B faces: (3, B, S, S) float32, 1 is white."""
    c = Canvas(style, person, occasion, size)
    _backdrop(c)
    full = clip((c.t["bald"] - F(0.08)) * 50)  # 0 for the bald, 1 else
    crown = _hair_behind(c, full)
    _body(c)
    for side in SIDES:
        _ear(c, side)
    head = _head(c)
    _blush_and_freckles(c)
    _moles_and_lines(c)
    _beard(c, head)
    _eyes(c)
    slope, at = _nose(c)
    _mouth(c)
    _hair(c, head, crown, full)
    _glasses(c)
    _hat(c)
    _held(c)
    _light(c, head, slope, at)
    return c.image


def _backdrop(c: Canvas) -> None:
    draws, style = c.draws, c.style
    one, two = draws.colour(*style.backdrop, 0.09), draws.colour(*style.backdrop, 0.09)
    a, b = draws.normal(0, 0.5), draws.normal(0, 0.5)
    ramp = smooth(c.u * a + c.v * b + F(0.5))
    for k in range(3):
        c.image[k] = one[k] + ramp * (two[k] - one[k])
    for _ in range(2):  # things out of focus
        x, y = draws.normal(0, 0.7), draws.normal(-0.3, 0.6)
        rx, ry = F(0.15) + F(0.3) * draws.uniform(), F(0.15) + F(0.4) * draws.uniform()
        spot = c.ellipse(c.u, c.v, x, y, rx, ry, 6)
        c.paint(spot * F(0.8 * style.texture), draws.colour(*style.backdrop, 0.09))


def _hair_behind(c: Canvas, full: np.ndarray) -> np.ndarray:
    """Paint the hair behind the head; return the mask of all the hair above the ears."""
    t = c.t
    volume = clip(t["hair_volume"] + c.draws.normal(0, 0.015), 0.03, 0.3)
    rx, ry = t["head_width"] + volume, F(0.85) + volume
    crown = c.ellipse(c.x, c.y, 0, -0.18, rx, ry)
    fall = clip((rx * F(1.02) - np.abs(c.x)) * c.sharp + F(0.5))
    fall = fall * clip((c.y + F(0.18)) * c.sharp)
    length = F(0.35) + F(0.9) * t["fringe"]
    fall = fall * smooth((length - c.y) * 4) * (t["long_hair"] > 0.5)
    c.paint(np.maximum(crown, fall) * full, c.hair * F(0.72))
    return crown


def _body(c: Canvas) -> None:
    t, draws = c.t, c.draws
    cloth = draws.colour(0.40, 0.24, 0.11)
    rx, ry = F(1.25) + draws.normal(0, 0.08), F(0.78) + draws.normal(0, 0.04)
    with c.window(-0.6, 0.6, -0.1, 1.8) as at:
        x, y = c.x[at], c.y[at]
        column = (t["head_width"] * F(0.62) - np.abs(x)) * c.sharp + F(0.5)
        c.paint(clip(column) * clip(y * c.sharp), c.skin * F(0.80))
    with c.window(-1.8, 1.8, 0.7, 1.8) as at:
        c.paint(c.ellipse(c.x[at], c.y[at], 0, 1.75, rx, ry), cloth)
    with c.window(-0.6, 0.6, 0.4, 1.35) as at:
        collar = c.ellipse(c.x[at], c.y[at], 0, 0.86, t["head_width"] * F(0.55), 0.32)
        c.paint(collar, c.skin * F(0.74))


def _ear(c: Canvas, side: int) -> None:
    t = c.t
    width = np.maximum(t["ear"], F(0.08)) * clip(1 - F(2.6 * side) * c.yaw, 0.4, 1.0)
    cx = side * (t["head_width"] - F(0.02))
    with c.window(cx - F(0.2), cx + F(0.2), -0.45, 0.55) as at:
        x, y = c.x[at], c.y[at]
        outer = c.ellipse(x, y, cx, F(0.05) + c.pitch * F(0.5), width, 0.20)
        c.paint(outer, c.skin * F(0.88))
        inner = c.ellipse(x, y, cx, 0.05, width * F(0.5), 0.12, 20)
        c.paint(inner * F(0.6), c.skin * F(0.66))


def _head(c: Canvas) -> np.ndarray:
    """Paint the head and its shadow on the neck; return its mask."""
    t = c.t
    # Half the width of the head at height y: a circle above, between oval and square below.
    up, low = c.y * F(1.026), c.y / (t["chin"] + c.pitch * F(0.25))
    up, low = up * up, low * low
    square = F(0.2) + t["jaw"] * F(0.75)
    lower = low * (1 - square + square * low)
    half = np.sqrt(np.maximum(1 - np.where(c.y < 0, up, lower), 0))
    half *= t["head_width"]
    beside = half - np.abs(c.x)
    head = clip(beside * c.edge + F(0.5)) * (half > 0)
    with c.window(-1.1, 1.1, 0.5, 1.2) as at:
        y = c.y[at]
        under = clip((beside[at] + F(0.16)) * 5) * smooth((y - F(0.55)) * 4)
        c.shade(under * smooth((F(1.15) - y) * 4) * F(0.55), 0.55, 0.5, 0.5)
    c.paint(head, c.skin)
    return head


def _blush_and_freckles(c: Canvas) -> None:
    t = c.t
    blush = F(0.5) * clip(t["lip_red"]) + F(0.15) * c.draws.uniform()
    for side in SIDES:
        cx = side * 0.36
        with c.window(cx - 0.22, cx + 0.22, -0.02, 0.42) as at:
            spot = blob(c.fx[at], c.fy[at], cx, 0.2, 0.22, 0.2)
            c.shade(spot * blush, 1.06, 0.78, 0.78)
    with c.window(-0.55, 0.55, -0.14, 0.38) as at:
        x, y = c.fx[at], c.fy[at]
        freckled = clip((t["freckles"] - F(0.78)) * 6) * F(0.30)
        dots = wave(x * F(8.3) + y * F(3.1)) * wave(y * F(9.1) - x * F(2.7))
        where = blob(x, y, 0, 0.12, 0.5, 0.24) * freckled
        c.shade(smooth(dots * 2 - F(0.2)) * where, 0.62, 0.48, 0.4)


def _moles_and_lines(c: Canvas) -> None:
    t = c.t
    for k in (1, -1):
        cx, cy = clip(t["mole_x"] * k, -0.42, 0.42), t["mole_y"] + F(0.17 * (k - 1))
        with c.window(cx - F(0.05), cx + F(0.05), cy - F(0.05), cy + F(0.05)) as at:
            dot = c.ellipse(c.fx[at], c.fy[at], cx, cy, 0.026, 0.026)
            c.shade(dot * (t["mole"] > F(0.45 + 0.2 * k)), 0.42, 0.34, 0.32)
    lines = smooth((c.age - F(0.4)) * F(1.7)) * F(c.style.texture)
    for side in SIDES:  # from the nose to the corners of the mouth
        with c.window(side * 0.26 - 0.14, side * 0.26 + 0.14, 0.14, 0.58) as at:
            x, y = c.fx[at] * side, c.fy[at]
            fold = clip(1 - np.abs(x - F(0.15) - (y - F(0.2)) * F(0.32)) * 22)
            fold = fold * smooth((y - F(0.16)) * 6) * smooth((F(0.52) - y) * 6)
            c.shade(fold * (lines * F(0.5) + F(0.1)), 0.62, 0.5, 0.45)
    with c.window(-0.4, 0.4, -0.56, -0.26) as at:  # across the forehead
        x, y = c.fx[at], c.fy[at]
        rows = np.maximum(wave((y + F(0.12) * x * x) * 11), 0)
        rows = rows * blob(x, y, 0, -0.41, 0.4, 0.14)
        c.shade(rows * lines * F(0.45), 0.65, 0.55, 0.5)


def _beard(c: Canvas, head: np.ndarray) -> None:
    t, draws = c.t, c.draws
    grown = clip((t["beard"] - F(0.62)) * 4 + draws.normal(0, 0.12))
    grown = grown * (t["beard"] > F(0.62)) * F(0.85)
    with c.window(-0.8, 0.8, 0.16, 1.1) as at:
        x, y = c.fx[at], c.fy[at]
        cheeks = smooth((y - F(0.24) - F(0.9) * x * x) * 6) * head[at]
        mouth = blob(x, y, 0, t["mouth_height"], 0.26, 0.16)
        c.paint(cheeks * clip(1 - F(1.7) * mouth) * grown, c.hair * F(0.9))
    lip = clip((t["moustache"] - F(0.6)) * 5 + draws.normal(0, 0.1)) * F(0.9)
    lip = lip * (t["moustache"] > F(0.6)) * (t["beard"] > F(0.45))
    cy = t["mouth_height"] - F(0.09)
    with c.window(-0.26, 0.26, cy - F(0.08), cy + F(0.08)) as at:
        over = blob(c.fx[at], c.fy[at], 0, cy, 0.24, 0.075)
        c.paint(clip(over * F(2.2)) * lip, c.hair * F(0.9))


def _eyes(c: Canvas) -> None:
    t, draws, force = c.t, c.draws, F(c.style.expression)
    lids = clip(1 + draws.normal(0, 0.22) * force, 0.12, 1.5)
    raised = draws.normal(0, 0.018) * force
    frown = draws.normal(0, 0.07) * force
    gaze = draws.normal(0, 0.018), draws.normal(0, 0.008)
    for side in SIDES:
        cx, cy = side * t["eye_gap"], t["eye_height"]
        with c.window(cx - F(0.28), cx + F(0.28), cy - F(0.5), cy + F(0.26)) as at:
            fx, fy = c.fx[at], c.fy[at]
            x = (fx - cx) * side  # grows outwards
            y, looks = fy - cy + x * t["eye_slant"], cx + gaze[0] + c.yaw * F(0.05)
            _eye(c, fx, x, y, looks, gaze[1], lids)
            _brow(c, x - F(0.01), fy - cy + t["brow_height"] + raised, frown)


def _eye(c: Canvas, fx, x, y, gx, gy, lids) -> None:
    """Paint an eye: (x, y) from its middle, (gx, gy) where it looks, in (fx, y)."""
    t, w = c.t, c.t["eye_width"]
    c.shade(blob(x, y, -0.01, -0.04, 0.22, 0.17) * F(0.5), 0.72, 0.62, 0.58)  # the socket
    bag = blob(x, y, 0, 0.085, w, 0.04)
    c.shade(bag * c.age * F(0.5), 0.7, 0.6, 0.6)
    a = x / w
    arc = np.maximum(1 - a * a, 0)
    height = t["eye_open"] * lids
    upper, lower = -arc * height, arc * height * F(0.62)
    within = clip((w - np.abs(x)) * c.edge + F(0.5))
    white = clip(np.minimum(y - upper, lower - y) * c.edge + F(0.5)) * within
    c.paint(white, rgb(0.93, 0.91, 0.89))
    r = t["iris"]
    c.paint(c.ellipse(fx, y, gx, gy, r, r) * white, c.iris)
    pupil = c.ellipse(fx, y, gx, gy, r * F(0.48), r * F(0.48)) * white
    c.paint(pupil, rgb(0.04, 0.03, 0.03))
    glint = c.ellipse(fx, y, gx + F(0.018), gy - F(0.02), 0.016, 0.016) * white
    c.paint(glint * F(0.9), rgb(1, 1, 1))
    c.shade(clip((upper + F(0.035) - y) * 28) * white, 0.6, 0.57, 0.57)
    lash = clip(1 - np.abs(y - upper) * 46) * within * (arc > 0)
    c.paint(lash * F(0.85), c.hair * F(0.35))
    crease = clip(1 - np.abs(y - upper + F(0.038)) * 40) * arc
    c.shade(crease * F(0.45), 0.6, 0.5, 0.47)
    under = clip(1 - np.abs(y - lower) * 40) * arc
    c.shade(under * F(0.3), 0.6, 0.5, 0.47)


def _brow(c: Canvas, x, y, frown) -> None:
    t = c.t
    bow = y - t["brow_arch"] * x * x + (t["brow_slant"] + frown) * x
    taper = clip((F(1.35) * t["eye_width"] - np.abs(x)) * 14)
    thick = t["brow_thick"] * (F(1.05) - F(2.2) * clip(x, 0, 0.2))
    brow = clip((thick - np.abs(bow)) * np.minimum(c.edge, 30) + F(0.4)) * taper
    c.paint(brow * F(0.88), c.hair * F(0.62))


def _nose(c: Canvas) -> tuple[np.ndarray, tuple[slice, ...]]:
    """Paint the nose; return how steep its sides are, and in which part of the canvases."""
    t = c.t
    tip, w = t["nose_tip"] + c.pitch * F(0.15), t["nose_width"]
    with c.window(-0.42, 0.42, -0.26, 0.52) as at:
        x, y = c.fx[at] - c.yaw * F(0.22), c.fy[at]
        down = smooth((y + F(0.16)) / (tip + F(0.16)))  # 0 at the root, 1 at the tip
        end = smooth((tip + F(0.06) - y) * 12)
        a = x / (w * (F(0.55) + F(0.75) * down))
        d = np.maximum(1 - a * a * F(0.5), 0)
        slope = a * d * d * down * end * (F(0.5) + F(0.6) * t["nose_bridge"])
        ridge = blob(a, y, 0, 0.05, 0.7, 0.3)
        c.shade(ridge * (F(0.3) + F(0.35) * t["nose_bridge"]), 1.12, 1.12, 1.12)
        c.shade(blob(x, y, 0, tip - F(0.03), w * F(0.8), 0.07), 1.12, 1.09, 1.08)
        below = blob(x, y, 0, tip + F(0.05), w * F(1.3), 0.055)
        c.shade(below * F(0.8), 0.62, 0.52, 0.48)
        for side in SIDES:
            wing = blob(x, y, side * w, tip + F(0.005), w * F(0.42), 0.075)
            c.shade(wing * F(0.55), 0.66, 0.55, 0.5)
            cx, cy = side * w * F(0.52), tip + F(0.035)
            hole = c.ellipse(x, y, cx, cy, w * F(0.26), 0.018, 14)
            c.paint(hole * F(0.75), c.skin * F(0.28))
    return slope, at


def _mouth(c: Canvas) -> None:
    t, draws, force, edge = c.t, c.draws, F(c.style.expression), c.edge
    smile = draws.normal(0.25, 0.35) * force
    gape = np.maximum(draws.normal(-0.01, 0.038), 0) * force
    cy, w = t["mouth_height"] + c.pitch * F(0.1), t["mouth_width"] * (1 + F(0.12) * smile)
    with c.window(-0.42, 0.42, cy - F(0.26), np.maximum(cy + F(0.4), t["chin"])) as at:
        x, y = c.fx[at] - c.yaw * F(0.06), c.fy[at]
        a = x / w
        a2 = a * a
        y = y - cy + smile * F(0.07) * a2  # corners up
        arc = np.maximum(1 - a2, 0)
        bow = 1 - F(0.35) * np.maximum(1 - a2 * 18, 0)  # the cleft of the upper lip
        top = -arc * t["lip_upper"] * bow - gape * arc
        bottom = arc * np.sqrt(arc) * t["lip_lower"] + gape * arc
        lips = clip(np.minimum(y - top, bottom - y) * edge + F(0.5)) * (arc > 0)
        c.paint(lips * F(0.92), c.lips)
        c.shade(blob(x, y, 0, bottom, w * F(0.5), 0.03) * lips, 1.22, 1.18, 1.18)
        c.shade(lips * clip(-y * 20), 0.86, 0.82, 0.82)
        inside = clip(np.minimum(y + gape * arc, gape * arc - y) * edge + F(0.35)) * clip(arc * 4)
        c.paint(inside, rgb(0.16, 0.05, 0.05))
        teeth = clip((gape * F(0.35) - y) * edge + F(0.3)) * smooth(gape * 30)
        c.paint(teeth * inside * clip(arc * F(2.5)), rgb(0.93, 0.91, 0.86))
        line = clip(1 - np.abs(y) * 50) * clip(F(1.08) - a2) * clip(1 - gape * 60)
        c.paint(line * F(0.75), c.skin * rgb(0.36, 0.22, 0.2))
        below = blob(x, y, 0, bottom + F(0.05), w * F(0.7), 0.04)
        c.shade(below * F(0.6), 0.7, 0.6, 0.56)
        chin = blob(x, c.fy[at], 0, t["chin"] - F(0.13), 0.17, 0.12)
        c.shade(chin * F(0.6), 1.1, 1.08, 1.07)


def _hair(c: Canvas, head: np.ndarray, crown: np.ndarray, full: np.ndarray) -> None:
    t, x, y = c.t, c.fx, c.fy
    line = t["hairline"] + F(0.25) * c.age * (t["beard"] > F(0.55)) * F(-0.35)
    away = x - t["hair_part"]
    edge = line + t["hair_curve"] * F(0.75) * away * away  # arch of the hairline
    edge = edge + F(0.30) * clip((t["fringe"] - F(0.72)) * 8) * clip(F(1.1) - away * away)
    sides = smooth((np.abs(c.nx) - F(0.88)) * 9) * smooth((F(0.12) - y) * 6)
    strand = wave(x * t["hair_wave"] * F(0.5) + y * F(1.7) + t["hair_part"] * 7)
    edge = edge + strand * F(0.014)
    top = clip((edge - y) * c.sharp * F(0.8) + F(0.5))
    mask = np.maximum(top, sides) * crown * full
    gloss = blob(x, y, t["hair_part"] * F(0.5), line - F(0.17), 0.55, 0.16)
    tint = F(0.92) + F(c.style.texture) * F(0.13) * strand + F(0.35) * gloss
    for k in range(3):
        part = c.image[k]
        part += mask * (c.hair[k] * tint - part)
    cast = clip((edge + F(0.09) - y) * 9) * (1 - mask) * head * full
    c.shade(cast * F(0.45), 0.66, 0.56, 0.52)


def _glasses(c: Canvas) -> None:
    t, draws = c.t, c.draws
    wears = (t["glasses"] * F(0.8) + draws.uniform() * F(0.4)) > F(0.82)
    frame = draws.colour(0.15, 0.12, 0.04)
    with c.window(-0.64, 0.64, -0.38, 0.2) as at:
        x, y = c.fx[at] - c.yaw * F(0.08), c.fy[at] - t["eye_height"] - F(0.015)
        a, b = (np.abs(x) - t["eye_gap"]) / F(0.2), y / F(0.145)
        ring = np.abs(np.sqrt(a * a * a * a + b * b * b * b) - F(0.95))
        bridge = clip(1 - np.abs(y + F(0.03)) * 34) * (np.abs(x) < t["eye_gap"] - F(0.18))
        rim = np.maximum(clip(F(1.1) - ring * F(5.5)), bridge) * wears
        c.paint(rim * F(0.9), frame)
        tinted = (a * a + b * b < 1) * wears * (draws.uniform() < F(0.2))
        c.shade(tinted * F(0.75), 0.25, 0.25, 0.28)


def _hat(c: Canvas) -> None:
    draws = c.draws
    wears = draws.uniform() < F(0.4 * c.style.occlusion)
    colour, brim = draws.colour(0.38, 0.22, 0.12), F(-0.46) + draws.normal(0, 0.04)
    for one in _those(wears):
        x, y = c.x[one], c.y[one]
        bend = brim[one] + F(0.16) * x * x
        felt = clip((bend - y) * c.sharp + F(0.5))
        width = c.t["head_width"][one] + F(0.22)
        felt *= c.ellipse(x, y, 0, -0.3, width, 1.0, c.sharp)
        with c.part((one,)):
            c.paint(felt, colour[:, one])
            c.shade(felt * clip((y - bend + F(0.1)) * 10), 0.75, 0.75, 0.75)


def _held(c: Canvas) -> None:
    """Paint whatever comes between the camera and the face."""
    draws = c.draws
    held = draws.uniform() < F(0.6 * c.style.occlusion)
    cx, cy = draws.normal(0, 0.55), draws.normal(0.72, 0.2)
    rx, ry = F(0.12) + F(0.2) * draws.uniform(), F(0.2) + F(0.3) * draws.uniform()
    colour = draws.colour(0.45, 0.22, 0.10)
    for one in _those(held):
        mask = c.ellipse(c.u[0], c.v[0], cx[one], cy[one], rx[one], ry[one], c.sharp)
        with c.part((one,)):
            c.paint(mask, colour[:, one])


def _those(chosen: np.ndarray) -> list[slice]:
    """Return the chosen faces one by one; for what few of them have."""
    return [slice(i, i + 1) for i in np.flatnonzero(chosen)]


def _light(c: Canvas, head: np.ndarray, slope: np.ndarray, at: tuple[slice, ...]) -> None:
    """Light the painted surface: a lamp to the side and above, the sky, the camera's flash."""
    draws, frontal = c.draws, c.style.frontal
    side, above = draws.normal(0, c.style.light), draws.normal(0.18, 0.12)
    side, above = clip(side, -0.8, 0.8) * F(1 - frontal), above * F(1 - frontal)
    lit = c.ball * F(0.55) + c.nx * side - c.ny * above
    lit[at] += slope * side * F(1.1) * head[at]
    shade = F(0.62) + clip(lit, -0.45, 0.75) * F(0.75)
    body = F(0.92) + side * F(0.25) * c.u
    c.image *= body + head * (shade - body)
    shine = blob(c.fx, c.fy, side * F(0.5), -0.33, 0.3, 0.2)
    c.image += shine * F(0.05 + 0.1 * frontal) * head
