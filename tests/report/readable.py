"""What every figure keeps to: it fits a page, no text stands on another, no two marks look alike in grey."""

from itertools import combinations

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgb
from matplotlib.lines import Line2D
from matplotlib.text import Text

APART = 2  # points between texts that stand in one line, on each side


def assert_readable(figure, monkeypatch):
    """Fail where a text is small, leaves the figure or comes close to another, or marks look alike."""
    assert figure.get_figwidth() == 6
    found = drawn_texts(figure, monkeypatch)
    assert len(found) >= 2
    for text, extent in found:
        said = text.get_text()
        assert text.get_fontsize() >= 7, said
        assert extent.x0 >= -1 and extent.x1 <= figure.bbox.x1 + 1, said
        assert extent.y0 >= -1 and extent.y1 <= figure.bbox.y1 + 1, said
    for (one, a), (other, b) in combinations(found, 2):
        turned = one.get_rotation() % 90 or other.get_rotation() % 90  # whose boxes overlap anyway
        near = a.padded(APART * figure.dpi / 72, 0)
        assert turned or not near.overlaps(b), (one.get_text(), other.get_text())
    for ax in figure.axes:
        assert_all_shown(ax)
    for legend in figure.legends:
        assert_told_apart(legend)


def drawn_texts(figure, monkeypatch):
    """(text, extent) of every text that is drawn, not of ticks outside the limits."""
    found, draw, canvas = [], Text.draw, FigureCanvasAgg(figure)

    def record(self, renderer):
        draw(self, renderer)
        if self.get_visible() and self.get_text().strip():
            extent = Text.get_window_extent(self, renderer)  # an annotation's without its arrow
            found.append((self, extent))

    canvas.draw()  # the layout is settled by the first drawing
    monkeypatch.setattr(Text, "draw", record)
    canvas.draw()
    monkeypatch.setattr(Text, "draw", draw)
    return found


def assert_all_shown(ax):
    """Fail where a mark or the end of an interval lies outside its panel."""
    ends = [
        collection.get_transform().transform(segment)
        for collection in ax.collections
        if isinstance(collection, LineCollection)
        for segment in collection.get_segments()
    ]
    marks = [
        line.get_transform().transform(line.get_xydata())
        for line in ax.lines
        if line.get_marker() not in (None, "None") and line.get_linestyle() == "None"
    ]
    for places in (*ends, *marks):
        places = np.reshape(places, (-1, 2))  # nothing: an interval that nobody printed
        for x, y in places[np.isfinite(places).all(axis=1)]:
            inside = ax.bbox.padded(0.5)
            assert inside.contains(x, y), (ax.get_title(loc="left"), x, y)


def assert_told_apart(legend):
    """Fail where two marks of a legend differ in colour alone."""
    lines = [handle for handle in legend.legend_handles if isinstance(handle, Line2D)]
    for one, other in combinations(lines, 2):
        assert shape(one) != shape(other), (one.get_label(), other.get_label())


def shape(line):
    """Marker, whether it is hollow, and the dashes of a line."""
    hollow = np.allclose(to_rgb(line.get_markerfacecolor()), 1)
    return line.get_marker(), hollow, line.get_linestyle(), line._unscaled_dash_pattern
