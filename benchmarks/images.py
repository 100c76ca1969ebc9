"""A large picture in few colours, from the file to the labels: time, error and memory."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
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
REPEATS, QUICK_REPEATS = 3, 1
SKLEARN_REPEATS = 1  # it takes minutes at full size
FEW, MANY = 16, 256
_LINES = 256  # scored at once

Array = np.ndarray[Any, Any]


@dataclass
class Contender:
    """One way to few colours, with what its runs gave.

    Parameters
    ----------
    run : for a seed, the colours (k, 3) as they are, and the image as labels of these.
    """

    name: str
    run: Callable[[int], tuple[Array, Any]]
    repeats: int
    seconds: list[float] = field(default_factory=list)
    mse: list[float] = field(default_factory=list)

    def take(self, image: Array, seed: int) -> None:
        """Run once more, if it is to."""
        if len(self.seconds) == self.repeats:
            return
        start = time.perf_counter()
        colors, labels = self.run(seed)
        self.seconds.append(time.perf_counter() - start)
        self.mse.append(_mse(image, colors, labels))
        tell(f"{self.name}: {self.seconds[-1]:.2f} s, MSE {self.mse[-1]:.4f}")

    def row(self, first: Contender) -> tuple[str, ...]:
        """Its row of the table."""
        seconds, ours = (statistics.median(c.seconds) for c in (self, first))
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
        total += float(np.square(off).sum())
    return total / image.size


def run(*, quick: bool = False) -> Section:
    """Quantise one picture with every contender by turns."""
    side, repeats = (QUICK_SIDE, QUICK_REPEATS) if quick else (SIDE, REPEATS)
    with tempfile.TemporaryDirectory() as folder, threadpool_limits(THREADS):
        path = make_tiff(Path(folder, "photos.tif"), side)
        image = _read(path)
        dask_threads = dask.config.set(scheduler="threads", num_workers=THREADS)
        with dask_threads:
            few = _few(path, image, Path(folder), repeats)
            many = _many(path, image, repeats)
            for contenders in (few, many):
                for c in contenders:  # so that imports and compilation are not timed
                    _warm(c, Path(folder))
                for seed in range(repeats):
                    for c in contenders:
                        c.take(image, seed)
        memory = _memory(path, Path(folder))
    n = side * side
    header = ("contender", "runs", "seconds", "ratio", "MSE", "MSE ratio")
    settings = (
        f"A tiled TIFF of {side:,} x {side:,} pixels in RGB, {3 * n / 1e6:.0f} MB decoded, of"
        " pieces of scikit-learn's two photographs with a colour shift for each tile and noise, by"
        f" `benchmarks/photos.py`; {THREADS} threads, by turns, a new seed each turn, medians."
        " Ratios are to dkmeans; below 1 (bold) it loses. MSE is over all pixels and bands, by the"
        f" same code for all. First k = {FEW}: dkmeans reads the file, under memory_limit ="
        f" {LIMIT!r}, and either finds the centers or writes the labels to Zarr as well;"
        " scikit-learn is given all pixels decoded, as float32, with n_init=1 and otherwise its"
        " defaults, and its time is that of `fit` alone. MSE is of the centers before they are"
        " rounded."
    )
    second = Table(
        f"k = {MANY} on all pixels, to rounded colours and the index of each pixel. All are given"
        " the decoded image, and dkmeans finds the colours from all of its pixels. Pillow's"
        " quantisers have no dithering; libimagequant is at its default speed and quality, from"
        " RGBA.",
        header,
        [c.row(many[0]) for c in many],
    )
    notes = [memory, *missing(["libimagequant"])]
    packages = ("scikit-learn", "pillow", "libimagequant", "tifffile", "zarr", "numba")
    return Section(
        "Images", settings, packages, THREADS, header, [c.row(few[0]) for c in few], notes, [second]
    )


def _read(path: Path) -> Array:
    import tifffile

    return np.asarray(tifffile.imread(path, maxworkers=THREADS))


def _few(path: Path, image: Array, folder: Path, repeats: int) -> list[Contender]:
    from sklearn.cluster import KMeans

    from dkmeans.image import quantize

    def search(seed: int) -> tuple[Array, Any]:
        found = quantize(path, FEW, random_state=seed, memory_limit=LIMIT)
        return found.centers, _Late(lambda: np.asarray(found.labels))

    def write(seed: int) -> tuple[Array, Any]:
        import zarr

        found = quantize(path, FEW, random_state=seed, memory_limit=LIMIT)
        found.write(labels=folder / "labels.zarr", overwrite=True)
        return found.centers, zarr.open_array(folder / "labels.zarr", mode="r")

    def sklearn(seed: int) -> tuple[Array, Any]:
        model = KMeans(FEW, n_init=1, random_state=seed).fit(pixels())
        return model.cluster_centers_, model.labels_.reshape(image.shape[:2])

    def pixels() -> Array:
        if "pixels" not in held:
            held["pixels"] = image.reshape(-1, 3).astype(np.float32)
        return held["pixels"]

    held: dict[str, Array] = {}
    pixels()  # not timed
    return [
        Contender("dkmeans, labels written", write, repeats),
        Contender("dkmeans, centers", search, repeats),
        Contender("scikit-learn KMeans(n_init=1)", sklearn, SKLEARN_REPEATS),
    ]


class _Late:
    """Labels that are made once the clock has stopped."""

    def __init__(self, make: Callable[[], Array]) -> None:
        self._make, self._made = make, None

    def __getitem__(self, key: Any) -> Array:
        self._made = self._make() if self._made is None else self._made
        return self._made[key]


def _many(path: Path, image: Array, repeats: int) -> list[Contender]:
    from PIL import Image

    from dkmeans.image import quantize

    picture = Image.fromarray(image)

    def ours(seed: int) -> tuple[Array, Any]:
        found = quantize(image, MANY, random_state=seed)
        return found.palette, found.labels

    def pillow(method: Image.Quantize) -> Callable[[int], tuple[Array, Any]]:
        def quantised(seed: int) -> tuple[Array, Any]:
            found = picture.quantize(MANY, method=method, dither=Image.Dither.NONE)
            return np.array(found.getpalette()).reshape(-1, 3), np.asarray(found)

        return quantised

    found = [Contender("dkmeans", ours, repeats)]
    for method in ("MEDIANCUT", "MAXCOVERAGE", "FASTOCTREE"):
        name = f"Pillow {method.lower()}"
        found.append(Contender(name, pillow(Image.Quantize[method]), repeats))
    if have("libimagequant"):
        found.append(Contender("libimagequant", _imagequant(image), repeats))
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


def _warm(contender: Contender, folder: Path) -> None:
    """Have dkmeans load its code; the others have none to compile."""
    if contender.name.startswith("dkmeans"):
        from dkmeans.image import quantize

        small = make_tiff(folder / "small.tif", 300, seed=1)
        quantize(small, 8, random_state=0).write(labels=folder / "small.zarr", overwrite=True)


_CHILD = """
import json, resource, sys
from dkmeans.image import quantize
from dkmeans.engine.passes import Passes

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

small, large, folder, k, limit = json.loads(sys.argv[1])
quantize(small, 8, random_state=0).write(labels=folder + "/warm.zarr")
before = peak()
found = quantize(large, k, random_state=0, memory_limit=limit)
found.write(labels=folder + "/measured.zarr")
print(json.dumps([peak() - before, found.passes]))
"""


def _memory(path: Path, folder: Path) -> str:
    """The peak of a process of its own, above what it had after a small picture."""
    small = make_tiff(folder / "small.tif", 300, seed=1)
    given = json.dumps([str(small), str(path), str(folder), FEW, LIMIT])
    command: Sequence[str] = [sys.executable, "-c", _CHILD, given]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    peak, passes = json.loads(done.stdout.splitlines()[-1])
    return (
        f"memory_limit = {LIMIT!r}, k = {FEW}, labels written: the peak of a process was"
        f" {peak / 1e6:.0f} MB above what it had after a picture of 300 x 300 pixels;"
        f" {passes} reading pass, and one more while the labels were written."
    )
