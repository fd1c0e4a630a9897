"""The embedded faces: the same pixels everywhere, each a function of its own numbers alone."""

import hashlib
from contextlib import nullcontext

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from mint_utils.data import synthetic
from mint_utils.data.synthetic import canvas
from mint_utils.data.synthetic.camera import _compress, _walsh
from mint_utils.errors import ParameterError

NUMBERS = np.arange(12, dtype=np.int64)

# Of 12 faces of each style, first at 40 pixels, then at 112. A change here is another database:
# the prepared images and every trained model are then made anew, and the notebooks with them.
STORED = {
    "embedded_web": ("b9e69cf20f0e9011", "e8a80c381cf60f8b"),
    "embedded_video": ("7f0f1c239592de0f", "3884d5cff4bff7b9"),
    "embedded_news": ("9f24d44c29665396", "96b80035d201fd6d"),
    "embedded_rendered": ("5b67f6b961050a39", "cd45905422286df3"),
    "embedded_albums": ("990805c3b50b99d8", "ba461640cdad819c"),
}


def sha256(style: str, size: int) -> str:
    faces = synthetic.draw(style, NUMBERS * 1_000_003, NUMBERS, size)
    return hashlib.sha256(faces.tobytes()).hexdigest()[:16]


@pytest.mark.parametrize("style", synthetic.STYLES)
def test_the_same_pixels_on_every_machine(style):
    assert (sha256(style, 40), sha256(style, 112)) == STORED[style]


@settings(max_examples=20, deadline=None)
@given(
    st.sampled_from(list(synthetic.STYLES)),
    st.lists(st.tuples(st.integers(0, 2**40), st.integers(0, 2**20)), min_size=1, max_size=9),
    st.sampled_from([16, 24, 37, 40]),
)
def test_a_face_does_not_depend_on_its_company(style, numbers, size):
    identities, samples = np.array(numbers, np.int64).T
    together = synthetic.draw(style, identities, samples, size)
    reverse = synthetic.draw(style, identities[::-1], samples[::-1], size)[::-1]
    ones = [slice(i, i + 1) for i in range(len(numbers))]
    apart = [synthetic.draw(style, identities[one], samples[one], size) for one in ones]
    np.testing.assert_array_equal(together, reverse)
    np.testing.assert_array_equal(together, np.concatenate(apart))


def test_chunks_do_not_show(monkeypatch):
    whole = synthetic.draw("embedded_web", NUMBERS, NUMBERS, 40)
    monkeypatch.setattr(synthetic, "CHUNK", 5 * 40 * 40)
    np.testing.assert_array_equal(whole, synthetic.draw("embedded_web", NUMBERS, NUMBERS, 40))


@pytest.mark.parametrize("size", [40, 112])
def test_the_windows_cut_nothing_off(monkeypatch, size):
    """A window only saves time: painting on the whole canvas gives the same picture."""
    identities, samples = np.arange(48) // 4, np.arange(48)
    whole = (slice(None), slice(None), slice(None))
    windows = [synthetic.draw(style, identities, samples, size) for style in synthetic.STYLES]
    monkeypatch.setattr(canvas.Canvas, "window", lambda *_: nullcontext(whole))
    full = [synthetic.draw(style, identities, samples, size) for style in synthetic.STYLES]
    np.testing.assert_array_equal(windows, full)


def test_images_are_of_the_shape_and_not_empty():
    for style in synthetic.STYLES:
        faces = synthetic.draw(style, NUMBERS, NUMBERS, 37)
        assert faces.shape == (12, 37, 37, 3) and faces.dtype == np.uint8
        assert (faces.reshape(12, -1).astype(float).std(axis=1) > 10).all()
    assert synthetic.draw("embedded_web", NUMBERS[:0], NUMBERS[:0], 40).shape == (0, 40, 40, 3)


def test_no_two_images_are_the_same():
    identities, samples = np.repeat(np.arange(40), 10), np.tile(np.arange(10), 40)
    faces = [synthetic.draw(style, identities, samples, 40) for style in synthetic.STYLES]
    assert len({face.tobytes() for style in faces for face in style}) == 400 * len(faces)


def test_one_person_is_nearer_to_himself_than_to_others():
    """On thumbnails, lighting taken out: a person's own photographs are nearer in most triples."""
    identities, samples = np.repeat(np.arange(200), 2), np.tile(np.arange(2), 200)
    faces = synthetic.draw("embedded_web", identities, samples, 40).astype(float)
    small = faces.reshape(400, 10, 4, 10, 4, 3).mean(axis=(2, 4)).reshape(400, -1)
    small = (small - small.mean(axis=1, keepdims=True)) / small.std(axis=1, keepdims=True)
    one, two = small[0::2], small[1::2]
    own = ((one - two) ** 2).sum(axis=1)
    others = ((one - np.roll(two, 1, axis=0)) ** 2).sum(axis=1)
    assert 0.6 < (own < others).mean() < 0.99  # easy to a person, not solved by pixels


def test_the_databases_differ_and_overlap():
    """A linear look at thumbnails tells each database from D better than chance, and imperfectly."""
    numbers = np.arange(600)
    first = synthetic.draw("embedded_web", numbers, numbers, 24)
    for style in list(synthetic.STYLES)[1:]:
        second = synthetic.draw(style, numbers + 10**6, numbers, 24)
        both = np.concatenate([first, second]).astype(float) / 255
        small = both.reshape(1200, 8, 3, 8, 3, 3)
        both = np.concatenate([small.mean(axis=(2, 4)), small.std(axis=(2, 4))], axis=-1).reshape(
            1200, -1
        )
        label, fold = np.repeat([0, 1], 600), np.arange(1200) % 2 == 0
        model = LogisticRegression(C=0.05, max_iter=300).fit(both[fold], label[fold])
        auc = roc_auc_score(label[~fold], model.decision_function(both[~fold]))
        assert 0.55 < auc < 0.97, (style, auc)


def test_the_codec_is_exact_where_its_steps_are_fine():
    plane = np.random.default_rng(0).integers(0, 256, (8, 8, 2, 3, 3)).astype(np.float32)
    np.testing.assert_array_equal(_walsh(_walsh(plane)), plane)  # integers, to the last bit
    grey = np.broadcast_to(np.arange(256, dtype=np.float32).reshape(16, 16), (3, 1, 16, 16))
    again = _compress(grey.copy(), np.full((1, 1, 1), 1 / 64, np.float32))
    np.testing.assert_array_equal(again[0, :, :, 0], grey[0, 0])


def test_wrong_style_and_size():
    with pytest.raises(ParameterError, match="embedded_video"):
        synthetic.draw("video", NUMBERS, NUMBERS, 40)
    with pytest.raises(ParameterError, match="not at 8"):
        synthetic.draw("embedded_web", NUMBERS, NUMBERS, 8)
