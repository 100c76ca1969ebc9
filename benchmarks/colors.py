"""Colours of photographs: the error of one reading pass next to scikit-learn's best of ten."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from sklearn.cluster import KMeans
from sklearn.datasets import load_sample_image

from benchmarks.report import Section, tell
from benchmarks.stores import cost
from dkmeans.image import Quantized, quantize

PHOTOS = ("china.jpg", "flower.jpg")
KS, QUICK_KS = (2, 4, 8, 16, 32, 64, 128, 256), (2, 8)
QUICK_STEP = 8  # of pixels each way
SEED = 0

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Colors:
    """Centers for the pixels (n, 3) of a photo, and two errors of them.

    Parameters
    ----------
    inertia : sum of squared distances of all pixels to their nearest centers.
    mse : of the image in the nearest centers, each rounded to whole bytes.
    """

    inertia: float
    mse: float

    @classmethod
    def of(cls, pixels: Array, centers: Array) -> Colors:
        """Score centers, by the same code for all."""
        rounded = np.rint(centers)
        return cls(cost(pixels, centers, 50_000), cost(pixels, rounded, 50_000) / pixels.size)


def best_of_ten(pixels: Array, k: int) -> Colors:
    """What scikit-learn finds from all pixels with ``n_init=10``."""
    model = KMeans(k, n_init=10, random_state=SEED).fit(pixels.astype(np.float32))
    return Colors.of(pixels, model.cluster_centers_)


def run(*, quick: bool = False) -> Section:
    """Find the colours of both photos, from all formats, and compare."""
    numbers, step = (QUICK_KS, QUICK_STEP) if quick else (KS, 1)
    rows: list[Sequence[str]] = []
    notes = []
    for name in PHOTOS:
        photo = np.ascontiguousarray(load_sample_image(name)[::step, ::step])
        pixels = photo.reshape(-1, 3)
        found = quantize(photo, numbers, random_state=SEED)
        notes.append(f"{name}: {_formats(photo, found)}")
        for k, one in found.items():
            rows.append(_line(f"{name}, {k}", one, Colors.of(pixels, one.centers), pixels, k))
            tell(" ".join(rows[-1]))
    settings = (
        "All pixels of the photographs that scikit-learn has, 427 x 640 each, seed 0: `quantize`"
        " with its defaults, all k from one reading pass, beside `KMeans(n_init=10)`. Inertia is"
        " the sum of squared distances of all pixels to their nearest centers, by the same code for"
        " both; MSE that of the image in the centers rounded to bytes, which is up to chance where"
        " both have found the same. **Bold** where the inertia of dkmeans is higher."
    )
    header = ("photo, k", "inertia", "scikit-learn", "ratio", "MSE", "scikit-learn", "passes")
    packages = ("scikit-learn", "numpy", "numba", "pillow", "tifffile", "zarr")
    return Section("Colours of photographs", settings, packages, 2, header, rows, notes)


def _line(name: str, one: Quantized, ours: Colors, pixels: Array, k: int) -> Sequence[str]:
    """A row of the table."""
    theirs = best_of_ten(pixels, k)
    ratio = ours.inertia / theirs.inertia
    shown = f"{ratio:.5f}"
    return (
        name,
        f"{ours.inertia:,.0f}",
        f"{theirs.inertia:,.0f}",
        f"**{shown}**" if ratio > 1 + 1e-9 else shown,
        f"{ours.mse:.4f}",
        f"{theirs.mse:.4f}",
        str(one.passes),
    )


def _formats(photo: Array, found: dict[int, Quantized]) -> str:
    """Whether files of the photo give the same bits, in words."""
    with tempfile.TemporaryDirectory() as folder:
        differ = [
            path.name
            for path in _files(photo, Path(folder))
            if not _same(quantize(path, list(found), random_state=SEED), found)
        ]
    formats = "a PNG, a tiled TIFF and a Zarr array"
    if differ:
        return f"**{', '.join(differ)} differ** from the array, of {formats}."
    return f"{formats} give the palettes, errors and labels of the array, to the bit."


def _files(photo: Array, folder: Path) -> Iterator[Path]:
    import tifffile
    from PIL import Image

    Image.fromarray(photo).save(folder / "photo.png")
    tifffile.imwrite(folder / "photo.tif", photo, photometric="rgb", tile=(64, 64))
    zarr.create_array(folder / "photo.zarr", data=photo, chunks=(100, 64, 3))
    yield from (folder / f"photo.{kind}" for kind in ("png", "tif", "zarr"))


def _same(one: dict[int, Quantized], other: dict[int, Quantized]) -> bool:
    """Whether two searches found the same, to the bit."""
    return all(
        np.array_equal(one[k].centers, other[k].centers)
        and (one[k].inertia, one[k].mse) == (other[k].inertia, other[k].mse)
        and np.array_equal(np.asarray(one[k].labels), np.asarray(other[k].labels))
        for k in other
    )
