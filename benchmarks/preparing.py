"""Preparation: images/s from files to a prepared database, against the same library's calls in a bare loop.

The bare loop decodes, resamples and encodes one image after the other, and keeps nothing; ours also lists,
checks, aligns, hashes and writes. The last column leaves the resampling out of the bare loop.
"""

import functools
import shutil
import tempfile
from pathlib import Path

import numpy as np
import simplejpeg
import torch
from PIL import Image
from torch.nn import functional as F

from benchmarks.timing import paired
from mint_utils.data import align
from mint_utils.data.prepare import prepare

IMAGES, QUALITY = 600, 92


def write(source: Path, side: int) -> list[Path]:
    """Write a folder of smooth pictures and return their paths in the order of their names."""
    files = []
    for i in range(IMAGES):
        coarse = np.random.default_rng(i).integers(0, 256, (20, 20, 3), dtype=np.uint8)
        picture = Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)
        files.append(source / f"{i // 20:04}" / f"{i % 20:02}.jpg")
        files[-1].parent.mkdir(parents=True, exist_ok=True)
        picture.save(files[-1], quality=QUALITY)
    return files


def plain(files: list[Path], warped: bool) -> None:
    """Decode and encode by simplejpeg; between them, antialiased and turned by PyTorch, or cut out."""
    turn = torch.tensor([[[1, 0.1, 0], [-0.1, 1, 0]]])
    for file in files:
        pixels = simplejpeg.decode_jpeg(file.read_bytes(), strict=True)
        crop = pixels[: align.SIZE, : align.SIZE]
        if warped:
            image = torch.from_numpy(pixels).permute(2, 0, 1)[None]
            if min(pixels.shape[:2]) > align.SIZE:
                image = F.interpolate(image, (140, 140), mode="bilinear", antialias=True)
            grid = F.affine_grid(turn, [1, 3, align.SIZE, align.SIZE], align_corners=False)
            turned = F.grid_sample(image.float(), grid, align_corners=False)
            crop = turned[0].permute(1, 2, 0).round_().clamp_(0, 255).byte().numpy()
        simplejpeg.encode_jpeg(
            np.ascontiguousarray(crop), quality=align.QUALITY, colorsubsampling=align.SUBSAMPLING
        )


def main() -> None:
    """Print rates and ratios, one worker, for images as large as those of the databases."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for side in (250, 512, 816):
        with tempfile.TemporaryDirectory() as folder:
            source, out = Path(folder) / "source", Path(folder) / "out"
            files = write(source, side)
            places = align.TEMPLATE * (side / 140) + 10

            def ours(source=source, out=out, places=places):
                shutil.rmtree(out, ignore_errors=True)
                prepare("gandiffface", source, out, detect=lambda _: places, jobs=1)

            ratios = []
            for warped in (True, False):
                bare = functools.partial(plain, files, warped)
                seconds, _, ratio = paired(ours, bare, runs=3)
                ratios.append(ratio)
        print(
            f"  one worker, {side} px: {IMAGES / seconds:,.0f} images/s, ratio {ratios[0]:.2f} "
            f"(decoding and encoding alone: {ratios[1]:.2f})"
        )
    torch.set_num_threads(threads)


if __name__ == "__main__":
    main()
