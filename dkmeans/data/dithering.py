"""Pictures in few colours whose errors are spread over neighbours."""

from __future__ import annotations

import numpy as np

from dkmeans._typing import AnyArray
from dkmeans.errors import MissingExtraError

DITHER_BYTES = 11  # of a pixel: as it came, as Pillow holds it, its index, and copies of that


def dithered(pixels: AnyArray, palette: AnyArray) -> AnyArray:
    """Index of each pixel's colour, (height, width) uint8, by Floyd and Steinberg 1976.

    Parameters
    ----------
    pixels : (height, width, 1 or 3) uint8.
    palette : (k, 3) uint8, k up to 256.

    Raises
    ------
    MissingExtraError
        Pillow is not installed.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingExtraError("dithering", "image") from error
    colors = Image.new("P", (1, 1))
    colors.putpalette(palette.tobytes())
    grey = pixels.shape[2] == 1
    picture = Image.fromarray(pixels[:, :, 0]).convert("RGB") if grey else Image.fromarray(pixels)
    return np.asarray(picture.quantize(palette=colors, dither=Image.Dither.FLOYDSTEINBERG))
