"""What every figure keeps to: it fits a page, can be read, and no mark of it has two meanings."""

from itertools import combinations

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgb
from matplotlib.lines import Line2D
from matplotlib.text import Text

from mint_utils.report.style import luminance

APART = 2  # points between texts that stand in one line, on each side


def assert_readable(figure, monkeypatch, least=2):
    """Fail where a text is small, leaves the figure or comes close to another.

    Fail too where two entries of the legend look alike in grey, or an axis of numbers has no name.
    """
    assert figure.get_figwidth() == 6
    found = drawn_texts(figure, monkeypatch)
    assert len(found) >= least
    for text, extent in found:
        said = text.get_text()
        assert text.get_fontsize() >= 7, said
        assert extent.x0 >= -1 and extent.x1 <= figure.bbox.x1 + 1, said
        assert extent.y0 >= -1 and extent.y1 <= figure.bbox.y1 + 1, said
    for (one, a), (other, b) in combinations(found, 2):
        if one.get_rotation() % 90 or other.get_rotation() % 90:
            continue  # their boxes overlap where they do not
        near = a.padded(APART * figure.dpi / 72, 0)
        assert not near.overlaps(b), (one.get_text(), other.get_text())
    assert_told_apart(figure)
    assert_named(figure)


def assert_all_shown(figure):
    """Fail where a mark or the end of an interval lies outside its panel."""
    FigureCanvasAgg(figure).draw()
    for ax in figure.axes:
        ends = [
            collection.get_transform().transform(segment)
            for collection in ax.collections
            if isinstance(collection, LineCollection)  # not a shaded band
            for segment in collection.get_segments()
        ]
        marks = [
            line.get_transform().transform(line.get_xydata())
            for line in ax.lines
            if line.get_marker() not in (None, "None")
        ]
        for places in (*ends, *marks):
            places = np.reshape(places, (-1, 2))  # nothing: an interval that nobody printed
            for x, y in places[np.isfinite(places).all(axis=1)]:
                assert ax.bbox.x0 <= x <= ax.bbox.x1 and ax.bbox.y0 <= y <= ax.bbox.y1, (x, y)


def drawn_texts(figure, monkeypatch):
    """(text, extent) of every text that is drawn, not of ticks outside the limits."""
    found, draw, canvas = [], Text.draw, FigureCanvasAgg(figure)

    def record(self, renderer):
        draw(self, renderer)
        if self.get_visible() and self.get_text().strip():
            found.append((self, self.get_window_extent(renderer)))

    canvas.draw()  # the layout is settled by the first drawing
    monkeypatch.setattr(Text, "draw", record)
    canvas.draw()
    return found


def contrast(one, other):
    """Contrast of two colours, 1 to 21."""
    low, high = sorted(luminance(colour) for colour in (one, other))
    return (high + 0.05) / (low + 0.05)


def assert_told_apart(figure):
    """Fail where two marks of a legend differ in colour alone, or two lines in one that grey print hides."""
    lines = [
        (handle, text.get_text())
        for legend in figure.legends
        for handle, text in zip(legend.legend_handles, legend.get_texts(), strict=True)
        if isinstance(handle, Line2D)
    ]
    for (one, name), (other, name_of_other) in combinations(lines, 2):
        names = name, name_of_other
        if shape(one) == shape(other):
            assert one.get_linestyle() != "None", names
            assert contrast(one.get_color(), other.get_color()) > 3, names


def shape(line):
    """Marker, whether it is hollow, and the dashes of a line."""
    hollow = np.allclose(to_rgb(line.get_markerfacecolor()), 1)
    return line.get_marker(), hollow, line._unscaled_dash_pattern


def assert_named(figure):
    """Fail where an axis carries numbers and neither it, its panel nor the figure has a name for them."""
    for ax in figure.axes:
        across = ax.get_xlabel() or figure.get_supxlabel() or ax.get_title(loc="left")
        names = {ax.xaxis: across, ax.yaxis: ax.get_ylabel() or figure.get_supylabel()}
        for axis, name in names.items():
            labels = [t.get_text() for t in axis.get_ticklabels() if t.get_visible()]
            numbers = [said for said in labels if said.replace(",", "").replace(".", "").isdigit()]
            assert name or not (ax.axison and numbers), numbers
