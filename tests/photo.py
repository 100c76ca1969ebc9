"""A photograph, its files of every kind, and what it is in few colours."""

from functools import cache

import numpy as np
import pytest
import zarr
from sklearn.datasets import load_sample_image

from dkmeans.image import quantize

pillow = pytest.importorskip("PIL.Image")
tifffile = pytest.importorskip("tifffile")

PHOTO = np.ascontiguousarray(load_sample_image("china.jpg")[::3, ::3])
HEIGHT, WIDTH = PHOTO.shape[:2]
KINDS = ["png", "webp", "zarr", "tif", "tif-tiles", "tif-strips", "tif-planes", "tif-big"]


@cache
def few_colors():
    """The photo in 2, 8 and 300 colours."""
    return quantize(PHOTO, [2, 8, 300], random_state=0)


def written(folder, kind):
    """The photo as a file of this kind."""
    path = folder / f"photo.{kind.partition('-')[0]}"
    if kind in ("png", "webp"):
        pillow.fromarray(PHOTO).save(path, lossless=True)
    elif kind == "zarr":
        zarr.create_array(path, data=PHOTO, chunks=(50, 64, 3))
    elif kind == "tif-planes":
        planes = np.moveaxis(PHOTO, 2, 0)
        options = {"planarconfig": "separate", "tile": (32, 32), "compression": "zlib"}
        tifffile.imwrite(path, planes, photometric="rgb", **options)
    else:
        options = {
            "tif": {},
            "tif-tiles": {"tile": (64, 32), "compression": "zlib"},
            "tif-strips": {"rowsperstrip": 7, "compression": "lzw"},
            "tif-big": {"tile": (32, 32), "bigtiff": True},
        }[kind]
        tifffile.imwrite(path, PHOTO, photometric="rgb", **options)
    return path


def rgba():
    """Red, red, green that is half transparent, and blue that nobody sees."""
    return np.array(
        [[[255, 0, 0, 255], [255, 0, 0, 255]], [[0, 255, 0, 128], [0, 0, 255, 0]]], np.uint8
    )
