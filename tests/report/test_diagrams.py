import numpy as np
import pytest
from matplotlib.patches import FancyArrowPatch

from mint_utils.config import ROWS
from mint_utils.report import diagrams

FIGURES = {
    "1": diagrams.figure_1,
    "2": diagrams.figure_2,
    "2, other widths": lambda: diagrams.figure_2((1024, 1024, 2048, 4096), (1024, 2048)),
}


def boxes(ax):
    """(left, bottom, right, top) in inches of what holds text."""
    return [
        (p.get_x(), p.get_y(), p.get_x() + p.get_width(), p.get_y() + p.get_height())
        for p in ax.patches
        if p.get_gid() == "box"
    ]


def words(figure):
    return " ".join(t.get_text() for t in figure.axes[0].texts).replace("\n", " ")


@pytest.mark.parametrize("name", FIGURES)
def test_every_text_fits_its_box(name):
    figure = FIGURES[name]()
    figure.draw_without_rendering()
    (ax,) = figure.axes
    found = boxes(ax)
    inside = [t for t in ax.texts if t.get_gid() == "in box"]
    assert len(inside) == len(found) >= 9
    for text in inside:
        extent = text.get_window_extent().transformed(ax.transData.inverted())
        x, y = text.get_position()
        left, bottom, right, top = next(b for b in found if b[0] < x < b[2] and b[1] < y < b[3])
        assert left <= extent.x0 and extent.x1 <= right, text.get_text()
        assert bottom <= extent.y0 and extent.y1 <= top, text.get_text()


@pytest.mark.parametrize("name", FIGURES)
def test_every_text_is_within_the_figure_and_covers_no_other(name):
    figure = FIGURES[name]()
    figure.draw_without_rendering()
    extents = [(t.get_text(), t.get_window_extent()) for t in figure.axes[0].texts]
    for i, (text, extent) in enumerate(extents):
        assert figure.bbox.x0 <= extent.x0 and extent.x1 <= figure.bbox.x1, text
        assert figure.bbox.y0 <= extent.y0 and extent.y1 <= figure.bbox.y1, text
        for other, beside in extents[i + 1 :]:
            assert not extent.overlaps(beside), (text, other)


@pytest.mark.parametrize("name", FIGURES)
def test_every_arrow_begins_and_ends_on_an_edge(name):
    (ax,) = FIGURES[name]().axes
    arrows = [p for p in ax.patches if isinstance(p, FancyArrowPatch)]
    assert len(arrows) >= 10
    shapes = []
    for patch in ax.patches:
        if not isinstance(patch, FancyArrowPatch):
            extent = patch.get_path().get_extents(patch.get_patch_transform())
            shapes.append((extent.x0, extent.y0, extent.x1, extent.y1))
    for arrow in arrows:
        assert arrow.shrinkA == arrow.shrinkB == 0
        for x, y in arrow._posA_posB:
            touches = [
                (np.isclose((x, x), (left, right), atol=1e-6).any() and bottom <= y <= top)
                or (np.isclose((y, y), (bottom, top), atol=1e-6).any() and left <= x <= right)
                for left, bottom, right, top in shapes
            ]
            assert any(touches), (x, y)


def test_figure_1_names_the_terms_of_the_paper():
    said = words(diagrams.figure_1())
    for term in (
        "Training Dataset",
        "External Datasets",
        "Audited Model",
        "Auxiliary Auditable Data",
        "Model Outcome",
        "MINT Model",
        "Development stage",
        "Audit stage",
        "used to train",
    ):
        assert term in said


def test_figure_2_carries_the_numbers_of_the_networks():
    said = words(diagrams.figure_2())
    assert "(960)" in said and "FC 256 ReLU" in said and "FC 128 ReLU" in said
    assert all(row in said for row in ROWS[:4]) and "Dropout 0.3" in said
    other = words(diagrams.figure_2((16, 32, 64, 128), (64, 32)))
    for number in ("16 maps", "32 maps", "64 maps", "128 maps", "(240)", "FC 64", "FC 32"):
        assert number in other
    assert "960" not in other and "512" not in other


def test_figure_2_has_four_points():
    with pytest.raises(ValueError):
        diagrams.figure_2((64, 128, 256))
