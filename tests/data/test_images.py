"""Decoding, colour order and augmentation against PIL, torchvision and formulas written out here."""

import io
import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from mint_utils.data import images
from mint_utils.data.recordio import RecordFile, write_records
from mint_utils.errors import DataError

RNG = np.random.default_rng(5)


def picture(size=24, seed=0) -> np.ndarray:
    """Return a smooth random picture, as photographs are."""
    small = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return np.array(Image.fromarray(small).resize((size, size), Image.Resampling.BICUBIC))


def encoded(pixels, kind="JPEG", **options) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, kind, **options)
    return out.getvalue()


def tensor(arrays: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(arrays)).permute(0, 3, 1, 2)


# ---- decoding --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["PNG", "BMP", "WEBP", "TIFF"])
def test_lossless_formats_come_back_exactly(kind):
    content = encoded(picture(), kind, **({"lossless": True} if kind == "WEBP" else {}))
    np.testing.assert_array_equal(images.decode(content, "a", 24), picture())


@pytest.mark.parametrize(
    "options", [{}, {"quality": 40}, {"progressive": True}, {"subsampling": 0}]
)
def test_jpeg_as_pil_decodes_it(options):
    content = encoded(picture(), **options)
    pil = np.array(Image.open(io.BytesIO(content)).convert("RGB")).astype(int)
    assert abs(images.decode(content, "a", 24).astype(int) - pil).max() <= 3


def test_grey_palette_and_transparent_images_become_rgb():
    grey = encoded(picture()[:, :, 0])
    assert images.decode(grey, "a", 24).shape == (24, 24, 3)
    rgba = np.dstack([picture(), np.full((24, 24), 128, np.uint8)])
    np.testing.assert_array_equal(images.decode(encoded(rgba, "PNG"), "a", 24), picture())


TURNED = {  # what a camera stored with each orientation is upright after this, by the EXIF standard
    1: lambda p: p, 2: lambda p: p[:, ::-1], 3: lambda p: p[::-1, ::-1], 4: lambda p: p[::-1],
    5: lambda p: p.swapaxes(0, 1), 6: lambda p: np.rot90(p, -1),
    7: lambda p: p[::-1, ::-1].swapaxes(0, 1), 8: lambda p: np.rot90(p),
}  # fmt: skip
EXACT = {"PNG": {}, "WEBP": {"lossless": True}, "TIFF": {}, "AVIF": {"quality": 100}, "JPEG": {}}


@pytest.mark.parametrize("kind", EXACT)
@pytest.mark.parametrize("orientation", TURNED)
def test_images_come_upright(kind, orientation):
    stored, exif = picture(64)[:40], Image.Exif()
    exif[images.ORIENTATION] = orientation
    content = encoded(stored, kind, exif=exif, **EXACT[kind])
    found, expected = images.decode(content, "a", None), TURNED[orientation](stored)
    assert found.shape == expected.shape and found.flags.c_contiguous
    assert np.abs(found.astype(int) - expected).mean() <= (5 if kind in ("JPEG", "AVIF") else 0)


def test_exif_data_that_are_none_are_passed_over():
    plain = encoded(picture())
    content = encoded(picture(), exif=b"Exif\0\0no such thing")
    np.testing.assert_array_equal(
        images.decode(content, "a", None), images.decode(plain, "a", None)
    )


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_of_grey_are_scaled_to_eight(kind):
    grey = picture()[:, :, 0]
    content = encoded(grey.astype(np.uint16) * 257, kind)
    assert Image.open(io.BytesIO(content)).mode.startswith("I;16")
    found = images.decode(content, "a", None)
    np.testing.assert_array_equal(found, np.repeat(grey[:, :, None], 3, axis=2))


def test_pixels_of_unknown_range_are_refused():
    with pytest.raises(DataError, match=r"^a has pixels of 32 bits, .* save it with 8 or 16"):
        images.decode(encoded(picture()[:, :, 0].astype(np.float32), "TIFF"), "a", None)


def test_cmyk_becomes_rgb():
    out = io.BytesIO()
    Image.new("CMYK", (16, 16), (200, 20, 20, 0)).save(out, "JPEG")
    found = images.decode(out.getvalue(), "a", None)
    assert np.abs(found[8, 8].astype(int) - [55, 235, 235]).max() <= 3


@pytest.mark.parametrize("kind", ["GIF", "TIFF"])
def test_of_several_frames_the_first_is_taken(kind):
    first, second = (Image.new("RGB", (24, 24), c) for c in ("red", "blue"))
    out = io.BytesIO()
    first.save(out, kind, save_all=True, append_images=[second])
    assert Image.open(out).n_frames == 2
    assert (images.decode(out.getvalue(), "a", 24) == [255, 0, 0]).all()


def test_heic_is_read_or_told_how_to_read_it(monkeypatch):
    monkeypatch.setattr(images, "HEIC", False)
    images.formats.cache_clear()
    content = b"\0\0\0\x1cftypheic\0\0\0\0mif1heic" + bytes(200)
    with pytest.raises(
        DataError, match=r"^x is HEIC or no image: pip install 'mint-utils\[heic\]'"
    ):
        images.decode(content, "x", None)
    monkeypatch.undo()
    images.formats.cache_clear()
    pillow_heif = pytest.importorskip("pillow_heif")
    out = io.BytesIO()
    pillow_heif.from_pillow(Image.fromarray(picture(64))).save(out, quality=100)
    assert images.looks_like_image(out.getvalue()[: images.START])
    found = images.decode(out.getvalue(), "x", 64).astype(int)
    assert np.abs(found - picture(64)).mean() < 4


def test_readers_that_start_programs_stay_shut(monkeypatch):
    out = io.BytesIO()
    Image.fromarray(picture()).save(out, "EPS")
    monkeypatch.setattr("subprocess.Popen", lambda *_, **__: pytest.fail("a program was started"))
    with pytest.raises(DataError, match="damaged or no image"):
        images.decode(out.getvalue(), "x", None)


@pytest.mark.parametrize("cut", [3, 30, 200, -2, -20])
def test_a_truncated_jpeg_is_refused_and_never_filled_up(cut):
    content = encoded(picture(112, seed=3), quality=95)
    with pytest.raises(DataError, match="lfw/0001 is damaged or no image"):
        images.decode(content[:cut], "lfw/0001", None)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "BMP", "TIFF", "GIF", "AVIF"])
def test_other_truncated_images_are_refused(kind):
    content = encoded(picture(112), kind)
    with pytest.raises(DataError, match="damaged or no image"):
        images.decode(content[: len(content) // 2], "x", None)


@pytest.mark.parametrize(
    "content", [b"", b"text", b"\xff\xd8", b"\xff\xd8\xff\xd9", b"GIF89a", bytes(500)]
)
def test_what_is_no_image_is_refused(content):
    with pytest.raises(DataError, match=rf"x is damaged .*\({len(content)} bytes"):
        images.decode(content, "x", None)


def test_a_jpeg_with_damage_inside_is_refused():
    content = bytearray(encoded(picture(112, seed=3), quality=95))
    middle = len(content) * 2 // 3
    content[middle : middle + 200] = bytes(200)  # as a hole in a file that was copied badly
    with pytest.raises(DataError, match="damaged"):
        images.decode(bytes(content), "x", 112)


def test_another_size_is_refused_with_the_remedy():
    with pytest.raises(DataError, match=r"x is 24x24 pixels where 112x112 is expected\. Align"):
        images.decode(encoded(picture()), "x", 112)


# ---- arrays ----------------------------------------------------------------------------------


def test_resize_is_pil_within_rounding():
    batch = np.stack([picture(112, seed) for seed in range(3)])
    ours = images.resize(batch, 56)
    for image, small in zip(batch, ours, strict=True):
        pil = np.array(Image.fromarray(image).resize((56, 56), Image.Resampling.BILINEAR))
        assert abs(small.astype(int) - pil.astype(int)).max() <= 1
    assert images.resize(batch, 112) is batch


@pytest.mark.parametrize("order", ["rgb", "bgr"])
def test_normalise_by_the_formula_in_either_order(order):
    batch = RNG.integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)
    out = images.normalise(tensor(batch), order)
    turned = batch[..., ::-1] if order == "bgr" else batch
    expected = ((turned / 255 - 0.5) / 0.5).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(out.numpy(), expected, atol=1e-6)
    assert out.dtype == torch.float32 and out.is_contiguous(memory_format=torch.channels_last)
    assert out.min() >= -1 and out.max() <= 1


def test_record_images_index_as_arrays_do(tmp_path):
    pictures = [picture(24, seed) for seed in range(6)]
    write_records(tmp_path / "a.rec", ((0, encoded(p, "PNG")) for p in pictures))
    with RecordFile(tmp_path / "a.rec") as record:
        array = images.RecordImages(record, record.keys[::-1], 24)
        assert len(array) == 6 and array.shape == (6, 24, 24, 3)
        whole = np.stack(pictures[::-1])
        np.testing.assert_array_equal(array[np.array([4, 0, 4])], whole[[4, 0, 4]])
        np.testing.assert_array_equal(array[1:3], whole[1:3])
        np.testing.assert_array_equal(array[5], whole[5])
        assert array[:0].shape == (0, 24, 24, 3) and array.nbytes == whole.nbytes
        elsewhere = pickle.loads(pickle.dumps(array))  # as it comes to another process
        np.testing.assert_array_equal(elsewhere[:], whole)
        elsewhere.record.close()


# ---- augmentation ----------------------------------------------------------------------------

BATCH = np.stack([picture(40, seed) for seed in range(64)])
KEYS = np.arange(64, dtype=np.uint64)


def test_nothing_but_the_flip_at_p_0():
    out = images.augment(tensor(BATCH), KEYS, 0.0).permute(0, 2, 3, 1).numpy()
    kept = (out == BATCH).all(axis=(1, 2, 3))
    flipped = (out == BATCH[:, :, ::-1]).all(axis=(1, 2, 3))
    assert (kept | flipped).all() and 15 < flipped.sum() < 49


@pytest.mark.parametrize("p", [0.2, 1.0])
def test_an_image_is_augmented_alike_in_any_batch(p):
    whole = images.augment(tensor(BATCH), KEYS, p)
    order = RNG.permutation(64)
    np.testing.assert_array_equal(
        images.augment(tensor(BATCH[order]), KEYS[order], p), whole[order]
    )
    np.testing.assert_array_equal(images.augment(tensor(BATCH[7:8]), KEYS[7:8], p), whole[7:8])
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    np.testing.assert_array_equal(images.augment(tensor(BATCH), KEYS, p), whole)
    torch.set_num_threads(threads)


def test_the_input_is_left_as_it_was():
    before = BATCH.copy()
    images.augment(tensor(BATCH), KEYS, 1.0)
    np.testing.assert_array_equal(BATCH, before)


def test_each_augmentation_has_its_probability():
    draws = images._draws(np.arange(20_000, dtype=np.uint64))
    assert draws.min() >= 0 and draws.max() < 1
    for column in (images.CROP, images.LOW_RES, images.JITTER):
        assert abs((draws[:, column] < 0.2).mean() - 0.2) < 0.01  # 3.5 standard errors
    assert abs(np.corrcoef(draws[:, : images.TOP].T) - np.eye(images.TOP)).max() < 0.03


def test_the_crop_keeps_its_place_on_black():
    white = np.full((200, 40, 40, 3), 255, np.uint8)
    draws = images._draws(np.arange(200, dtype=np.uint64))
    out = images._crop(torch.from_numpy(white), draws).numpy()
    for image in out:
        rows, columns = np.flatnonzero(image.any((1, 2))), np.flatnonzero(image.any((0, 2)))
        box = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert (box == 255).all() and image.sum() == box.sum()
        assert 0.17 < box.shape[0] * box.shape[1] / 1600 <= 1
        assert 0.7 < box.shape[1] / box.shape[0] < 1.42


def test_low_resolution_is_that_of_torch():
    """Rows down and up, then columns; between them bytes, as where images are resampled in PIL."""
    draws = images._draws(np.arange(64, dtype=np.uint64))
    ours = images._low_res(torch.from_numpy(BATCH), draws).numpy().astype(int)
    small = ((0.2 + 0.8 * draws[:, images.SIDE]) * 40).astype(int)
    for i in range(64):
        down, up = (images.INTERPOLATIONS[int(draws[i, c] * 4)] for c in (images.DOWN, images.UP))
        pixels = tensor(BATCH[i : i + 1]).float()
        for size in ((int(small[i]), 40), (40, int(small[i]))):
            pixels = torch.nn.functional.interpolate(pixels, size, mode=down)
            pixels = torch.nn.functional.interpolate(pixels, (40, 40), mode=up).clamp(0, 255)
        assert abs(ours[i] - pixels[0].permute(1, 2, 0).numpy()).max() < 2


def test_jitter_is_that_of_pil():
    """Brightness, contrast and saturation one after the other, as torchvision does to a PIL image."""
    from PIL import ImageEnhance

    kinds = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
    draws = images._draws(np.arange(64, dtype=np.uint64))
    ours = images._jitter(torch.from_numpy(BATCH), draws).numpy().astype(int)
    for i in range(64):
        image = Image.fromarray(BATCH[i])
        for which in images.ORDERS[int(draws[i, images.ORDER] * 6)]:
            image = kinds[which](image).enhance(0.5 + draws[i, images.FACTORS][which])
        assert abs(ours[i] - np.array(image).astype(int)).max() <= 2
