"""What every figure keeps to: it fits a page, its text is large enough, and none stands on other text."""

from itertools import combinations

from matplotlib.text import Text


def assert_readable(figure, monkeypatch, least=2, slanted=False):
    """Fail where a text is small, leaves the figure or overlaps another.

    Slanted labels have overlapping boxes without touching: with them overlaps are not looked for.
    """
    assert figure.get_figwidth() == 6
    found = drawn_texts(figure, monkeypatch)
    assert len(found) >= least
    for text, size, extent in found:
        assert size >= 7, text
        assert extent.x0 >= -1 and extent.x1 <= figure.bbox.x1 + 1, text
        assert extent.y0 >= -1 and extent.y1 <= figure.bbox.y1 + 1, text
    for (one, _, a), (other, _, b) in combinations(found, 2):
        assert slanted or not a.overlaps(b), (one, other)


def drawn_texts(figure, monkeypatch):
    """(text, size, extent) of every text that is drawn: not of ticks outside the limits."""
    found, draw = [], Text.draw

    def record(self, renderer):
        draw(self, renderer)
        if self.get_visible() and self.get_text().strip():
            found.append((self.get_text(), self.get_fontsize(), self.get_window_extent(renderer)))

    figure.draw_without_rendering()  # the layout is settled by the first drawing
    monkeypatch.setattr(Text, "draw", record)
    figure.draw_without_rendering()
    return found
