"""Soak: time and memory of everything that touches all images of D, at growing sizes.

    python -m benchmarks.soak 10000 100000 1000000

For each size a RecordIO file of images of 16x16 pixels is written to a temporary folder and opened as a
streamed database; then it is used as a study uses D. Memory is the peak of the anonymous memory of the
process above the previous level; pages of the mapped file, which the system can take back, do not count.
"""

import argparse
import multiprocessing
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import simplejpeg
import yaml

from mint_utils import paths
from mint_utils.audited.exposure import classes, plan
from mint_utils.config import Audited, Databases, Mint
from mint_utils.data import manifest
from mint_utils.data.ahead import read_ahead
from mint_utils.data.membership import held_out, part
from mint_utils.data.recordio import write_records
from mint_utils.mint.protocol import audit_set

SIDE, EACH, MS1MV3 = 16, 50, 5_179_510
FREQUENCIES = (1, 10, 20, 30)


def pictures(n: int) -> Iterator[tuple[int, bytes]]:
    """Yield (identity, JPEG) of n images, 50 of each identity."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (64, SIDE, SIDE, 3), dtype=np.uint8)
    encoded = [simplejpeg.encode_jpeg(image, quality=80) for image in noise]
    for i in range(n):
        yield i // EACH, encoded[i % len(encoded)]


def own_memory() -> int:
    """Return the bytes of anonymous memory that this process holds (Linux)."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0]) * 1024


class Phases:
    """Measures phases: name -> (seconds, bytes)."""

    def __init__(self):
        self.found: dict[str, tuple[float, int]] = {}

    @contextmanager
    def __call__(self, name: str):
        """Measure the block, its memory every 5 ms."""
        before, done = own_memory(), threading.Event()
        peak = before

        def watch():
            nonlocal peak
            while not done.wait(0.005):
                peak = max(peak, own_memory())

        watcher = threading.Thread(target=watch)
        watcher.start()
        started = time.perf_counter()
        try:
            yield
        finally:
            seconds = time.perf_counter() - started
            peak = max(peak, own_memory())
            done.set()
            watcher.join()
        self.found[name] = seconds, peak - before


def soak(n: int) -> dict[str, tuple[float, int]]:
    """Use a database of n images as a study uses D, and return the seconds and bytes of each phase."""
    phase = Phases()
    with tempfile.TemporaryDirectory() as folder:
        path, roles = Path(folder) / "train.rec", Databases(held_out=0.05)
        os.environ["MINT_ARTIFACTS"] = str(Path(folder) / "made")
        with phase("write the file"):
            write_records(path, pictures(n))
        described = manifest.read_manifest("lfw") | {
            "name": "soak",
            "path": path.name,
            "image_size": SIDE,
            "images": n,
            "identities": -(-n // EACH),
            "sha256": manifest.sha256(path),
        }
        paths.MANIFESTS = Path(folder)
        (paths.MANIFESTS / "soak.yaml").write_text(yaml.safe_dump(described))
        manifest.PREPARED_BYTES = 0
        with phase("open, first time: checksum, index, labels"):
            manifest.open_database("soak", folder, SIDE)
        with phase("open again"):
            d = manifest.open_database("soak", folder, SIDE)
        with phase("split: held-out images and four parts"):
            held_out(d.name, d.keys, roles.held_out, 0)
            part(d.name, d.keys, len(FREQUENCIES), 0)
        with phase("plan Scenario 1, classes"):
            frequencies = plan(Audited(repeats=FREQUENCIES), d, roles.held_out, 0)
            classes(frequencies, d)
        with phase("batches of an epoch of Scenario 1"):
            frequencies.batches(0)
        with phase("MINT splits of the four parts"):
            others = [
                replace(d, name=name, keys=d.keys[: n // 5], identities=d.identities[: n // 5])
                for name in ("external", "other")
            ]
            shown = frequencies.images
            groups = {f"x{times}": shown == times for times in FREQUENCIES}
            audit_set(d, shown, others[:1], others[1], groups, roles, Mint())
        with phase("pass over all images, shuffled, decoded"):
            order = np.array_split(np.random.default_rng(0).permutation(n), -(-n // 256))
            images = sum(len(found) for _, found in read_ahead(order, d.images.__getitem__))
        if images != n:
            raise AssertionError(f"{images} images were read of {n}")
    return phase.found


def main() -> None:
    """Print seconds and megabytes of each phase and size, and their growth from size to size."""
    parser = argparse.ArgumentParser()
    parser.add_argument("images", nargs="*", type=int, default=[10_000, 100_000])
    sizes = sorted(parser.parse_known_args()[0].images)
    taken = {}
    for n in sizes:  # each in a process of its own, so that none inherits another's memory
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            taken[n] = pool.submit(soak, n).result()
        print(f"  {n:,} images")
        for name, (seconds, size) in taken[n].items():
            print(f"    {name:45} {seconds:9.2f} s {size / 1e6:9.1f} MB")
    largest = sizes[-1]
    for n in sizes[:-1]:
        print(f"  {largest / n:g} times as many images as {n:,} take")
        for name, (seconds, size) in taken[n].items():
            more, larger = taken[largest][name]
            time_ = f"{more / seconds:.1f} times the time" if seconds > 0.05 else ""
            memory = f"{larger / size:.1f} times the memory" if size > 1e6 else ""
            print(f"    {name:45} {time_:>20} {memory:>24}")
    print(f"  MS1MV3's {MS1MV3:,} images in proportion (its images are larger)")
    for name, (seconds, size) in taken[largest].items():
        scale = MS1MV3 / largest
        print(f"    {name:45} {seconds * scale:9.0f} s {size * scale / 1e6:9.0f} MB")


if __name__ == "__main__":
    main()
