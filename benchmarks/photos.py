"""A large picture with the texture of photographs, written as a TIFF tile by tile."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from sklearn.datasets import load_sample_image

TILE = 256
SHIFT = 8  # standard deviation of the colour shift of a tile
NOISE = 2  # and of the noise of each value

Array = np.ndarray[Any, Any]


def make_tiff(path: Path, side: int, *, seed: int = 0, compression: str | None = "zlib") -> Path:
    """Write a picture (side, side) in RGB, of shifted and noisy pieces of scikit-learn's photos."""
    tifffile.imwrite(
        path,
        _tiles(side, seed),
        shape=(side, side, 3),
        dtype=np.uint8,
        tile=(TILE, TILE),
        photometric="rgb",
        compression=compression,
        metadata=None,
    )
    return path


def _tiles(side: int, seed: int) -> Iterator[Array]:
    photos = [load_sample_image(name) for name in ("china.jpg", "flower.jpg")]
    random = np.random.default_rng(seed)
    for _ in range((-(-side // TILE)) ** 2):
        photo = photos[random.integers(2)]
        top, left = (random.integers(size - TILE + 1) for size in photo.shape[:2])
        tile = photo[top : top + TILE, left : left + TILE].astype(np.float32)
        tile += random.normal(0, SHIFT, 3).astype(np.float32)
        tile += NOISE * random.standard_normal(tile.shape, np.float32)
        yield np.rint(np.clip(tile, 0, 255)).astype(np.uint8)
