"""A large picture in few colours, from the file to the labels: time, error and memory."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import dask
import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.peers import have, missing
from benchmarks.photos import make_tiff
from benchmarks.report import Section, Table, mark, tell

SIDE, QUICK_SIDE = 10_000, 300
LIMIT = "256 MB"
THREADS = 2
REPEATS, QUICK_REPEATS = 5, 1
SLOW_REPEATS = 1  # of what takes a quarter of a minute or more at full size
PART = 2  # times as high and wide is the picture as the part of it for what takes many minutes
WARM_SIDE = 2400  # of a picture whose colours are many enough to be counted as those of a large one
FEW, MANY = 16, 256
_LINES = 16  # scored at once

Array = np.ndarray[Any, Any]


@dataclass
class Contender:
    """One way to few colours, with what its runs gave.

    Parameters
    ----------
    run : for a seed, the colours (k, 3) as they are, and the image as labels of these.
    part : the image has so many times its height, and its width; from the top left corner.
    """

    name: str
    run: Callable[[int], tuple[Array, Any]]
    repeats: int
    part: int = 1
    seconds: list[float] = field(default_factory=list)
    mse: list[float] = field(default_factory=list)

    def take(self, image: Array, seed: int) -> None:
        """Run once more, if it is to."""
        if len(self.seconds) == self.repeats:
            return
        start = time.perf_counter()
        colors, labels = self.run(seed)
        self.seconds.append(time.perf_counter() - start)
        height, width = (size // self.part for size in image.shape[:2])
        self.mse.append(_mse(image[:height, :width], colors, labels))
        tell(f"{self.name}: {self.seconds[-1]:.2f} s, MSE {self.mse[-1]:.4f}")

    @property
    def median(self) -> float:
        """Seconds of a run."""
        return statistics.median(self.seconds)

    def row(self, first: Contender) -> tuple[str, ...]:
        """Its row of the table."""
        seconds, ours = self.median, first.median
        quality = statistics.median(self.mse) / statistics.median(first.mse)
        return (
            self.name, str(len(self.seconds)), f"{seconds:.2f}",
            f"{seconds / ours:.2f}" if self is first else mark(seconds / ours),
            f"{statistics.median(self.mse):.4f}",
            f"{quality:.4f}" if self is first else mark(quality),
        )  # fmt: skip


def _mse(image: Array, colors: Array, labels: Any) -> float:
    """Mean squared error over all pixels and bands, by the same code for all."""
    total = 0.0
    for top in range(0, len(image), _LINES):
        off = image[top : top + _LINES] - colors.astype(np.float64)[labels[top : top + _LINES]]
        total += float(np.vdot(off, off))
    return total / image.size


def run(*, quick: bool = False) -> Section:
    """Quantise one picture with every contender by turns."""
    side, repeats = (QUICK_SIDE, QUICK_REPEATS) if quick else (SIDE, REPEATS)
    with tempfile.TemporaryDirectory() as folder, threadpool_limits(THREADS):
        plain = make_tiff(Path(folder, "plain.tif"), side, compression=None)
        zlib = make_tiff(Path(folder, "zlib.tif"), side)
        image = _read(plain)
        dask_threads = dask.config.set(scheduler="threads", num_workers=THREADS)
        with dask_threads:
            few = _few({"plain": plain, "zlib": zlib}, image, Path(folder), repeats)
            many = _many(image, repeats)
            _warm(Path(folder))
            for contenders in (few, many):
                for seed in range(repeats):
                    for c in contenders:
                        c.take(image, seed)
        memory = _memory(plain, Path(folder))
    n = side * side
    header = ("contender", "runs", "seconds", "ratio", "MSE", "MSE ratio")
    settings = (
        f"Tiled TIFFs of {side:,} x {side:,} pixels in RGB, {3 * n / 1e6:.0f} MB decoded, of"
        " pieces of scikit-learn's two photographs with a colour shift for each tile and noise, by"
        " `benchmarks/photos.py`, one without compression and one with zlib; the files are in the"
        f" system's memory. {THREADS} threads, by turns, a new seed each turn, medians. Ratios are"
        " to dkmeans; below 1 (bold) it loses. MSE is over all pixels and bands, by the same code"
        f" for all. First k = {FEW}: dkmeans decodes a file, under memory_limit = {LIMIT!r}, and"
        " either finds the centers or reads it again to write the labels to Zarr as well;"
        " scikit-learn is given all pixels decoded, as float32, with n_init=1 and otherwise its"
        " defaults, and its time is that of `fit` alone, without decoding. MSE is of the centers"
        " before they are rounded."
    )
    second = Table(
        f"k = {MANY} on all pixels, to rounded colours and the index of each pixel. All are given"
        " the decoded image, and dkmeans finds the colours from all of its pixels. Pillow's"
        " quantisers have no dithering; libimagequant is at its default speed and quality, from"
        f" RGBA. Where a part is named, it is the top left one: 1 / {PART * PART} of the pixels.",
        header,
        [c.row(many[0]) for c in many],
    )
    centers, written, *_, theirs = few
    notes = [
        f"k = {FEW}: scikit-learn takes {theirs.median / centers.median:.0f} times as long as"
        f" dkmeans from the plain file to the centers, and {theirs.median / written.median:.0f}"
        " times as long as to the labels in Zarr.",
        memory,
        *missing(["libimagequant"]),
    ]
    packages = ("scikit-learn", "pillow", "libimagequant", "tifffile", "zarr", "numba")
    return Section(
        "Images", settings, packages, THREADS, header, [c.row(few[0]) for c in few], notes, [second]
    )


def _read(path: Path) -> Array:
    import tifffile

    return np.asarray(tifffile.imread(path, maxworkers=THREADS))


def _few(paths: Mapping[str, Path], image: Array, folder: Path, repeats: int) -> list[Contender]:
    """Contenders for few colours; dkmeans has a path for each kind of file."""
    from sklearn.cluster import KMeans

    def sklearn(seed: int) -> tuple[Array, Any]:
        model = KMeans(FEW, n_init=1, random_state=seed).fit(pixels)
        return model.cluster_centers_, model.labels_.reshape(image.shape[:2])

    pixels = image.reshape(-1, 3).astype(np.float32)  # not timed
    found = [
        Contender(f"dkmeans, {kind} TIFF, {what}", partial(run, path, folder), repeats)
        for kind, path in paths.items()
        for what, run in (("centers", _search), ("labels written", _write))
    ]
    return [*found, Contender("scikit-learn KMeans(n_init=1)", sklearn, SLOW_REPEATS)]


def _search(path: Path, folder: Path, seed: int) -> tuple[Array, Any]:
    from dkmeans.image import quantize

    found = quantize(path, FEW, random_state=seed, memory_limit=LIMIT)
    return found.centers, _Late(lambda: np.asarray(found.labels))


def _write(path: Path, folder: Path, seed: int) -> tuple[Array, Any]:
    import zarr

    from dkmeans.image import quantize

    target = folder / f"labels-{path.stem}-{seed}.zarr"
    found = quantize(path, FEW, random_state=seed, memory_limit=LIMIT)
    found.write(labels=target)
    return found.centers, _Late(lambda: zarr.open_array(target, mode="r")[:])


class _Late:
    """Labels that are made once the clock has stopped."""

    def __init__(self, make: Callable[[], Array]) -> None:
        self._make, self._made = make, None

    def __getitem__(self, key: Any) -> Array:
        self._made = self._make() if self._made is None else self._made
        return self._made[key]


def _many(image: Array, repeats: int) -> list[Contender]:
    from PIL import Image

    from dkmeans.image import quantize

    picture = Image.fromarray(image)

    def ours(seed: int) -> tuple[Array, Any]:
        found = quantize(image, MANY, random_state=seed)
        return found.palette, found.labels

    def pillow(method: Image.Quantize, source: Image.Image, seed: int) -> tuple[Array, Any]:
        found = source.quantize(MANY, method=method, dither=Image.Dither.NONE)
        return np.array(found.getpalette()).reshape(-1, 3), np.asarray(found)

    height, width = image.shape[:2]
    part = picture.crop((0, 0, width // PART, height // PART))
    octree, cut, cover = (
        partial(pillow, Image.Quantize[method], source)
        for method, source in (
            ("FASTOCTREE", picture),
            ("MEDIANCUT", picture),
            ("MAXCOVERAGE", part),
        )
    )
    found = [
        Contender("dkmeans", ours, repeats),
        Contender("Pillow fastoctree", octree, repeats),
        Contender("Pillow mediancut", cut, SLOW_REPEATS),
        Contender("Pillow maxcoverage, a part", cover, SLOW_REPEATS, PART),
    ]
    if have("libimagequant"):
        found.append(Contender("libimagequant", _imagequant(image), SLOW_REPEATS))
    return found


def _imagequant(image: Array) -> Callable[[int], tuple[Array, Any]]:
    import libimagequant as liq

    height, width = image.shape[:2]
    rgba = np.dstack([image, np.full((height, width), 255, np.uint8)]).tobytes()

    def quantised(seed: int) -> tuple[Array, Any]:
        attr = liq.Attr()
        attr.max_colors = MANY
        given = attr.create_rgba(rgba, width, height, 0)
        result = given.quantize(attr)
        result.dithering_level = 0.0
        labels = np.frombuffer(result.remap_image(given), np.uint8).reshape(height, width)
        colors = np.array([(c.r, c.g, c.b) for c in result.get_palette()])
        return colors, labels

    return quantised


def _warm(folder: Path) -> None:
    """Have dkmeans load all of its code, so that this is not timed; the others have none."""
    from dkmeans.image import quantize

    path = make_tiff(folder / "warm.tif", WARM_SIDE, seed=1)
    quantize(path, 8, random_state=0).write(labels=folder / "warm.zarr")
    quantize(_read(path), 8, random_state=0)


_CHILD = """
import json, sys
from dkmeans.image import quantize

def peak():
    with open("/proc/self/status") as status:
        return next(1024 * int(line.split()[1]) for line in status if line.startswith("VmHWM"))

small, large, folder, k, limit = json.loads(sys.argv[1])
quantize(small, 8, random_state=0).write(labels=folder + "/warm.zarr", overwrite=True)
with open("/proc/self/clear_refs", "w") as refs:
    refs.write("5")  # the peak is what there is now: a child begins with that of its parent
before = peak()
found = quantize(large, k, random_state=0, memory_limit=limit)
found.write(labels=folder + "/measured.zarr")
print(json.dumps([peak() - before, found.passes]))
"""


def _memory(path: Path, folder: Path) -> str:
    """The peak of a process of its own, above what it had after a small picture; on Linux."""
    if sys.platform != "linux":
        return "The peak of memory is measured on Linux."
    small = make_tiff(folder / "small.tif", 300, seed=1)
    given = json.dumps([str(small), str(path), str(folder), FEW, LIMIT])
    command: Sequence[str] = [sys.executable, "-c", _CHILD, given]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    peak, passes = json.loads(done.stdout.splitlines()[-1])
    return (
        f"memory_limit = {LIMIT!r}, k = {FEW}, labels written: the peak of a process was"
        f" {peak / 1e6:.0f} MB above what it had after a picture of 300 x 300 pixels;"
        f" {passes} reading pass, and one more while the labels were written."
    )
