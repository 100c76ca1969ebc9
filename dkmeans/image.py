"""Images in few colours, found from all of their pixels."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from dkmeans.data.image_source import Image, open_image
from dkmeans.engine import color_spaces
from dkmeans.errors import DataError
from dkmeans.palettes import Search, distinct_palettes
from dkmeans.quantized import Quantized
from dkmeans.raster_palettes import few_pass_palettes


def quantize(
    image: Any,
    k: int | Iterable[int],
    *,
    random_state: Any = None,
    space: str = "srgb",
    n_init: int | str = "auto",
    alpha: bool | None = None,
    any_size: bool = False,
    memory_limit: int | str | None = None,
    nodata: float | None = None,
    standardize: bool = False,
    channel_axis: int | str | None = None,
    storage_options: Mapping[str, Any] | None = None,
) -> Any:
    """Find the ``k`` colours that stand for all pixels of an image with the least squared error.

    The distinct colours of an image of 8 bits and up to 3 bands, alpha not counted, are counted in
    one pass, and clustered in memory with their counts as weights: that is k-means on all pixels.
    Other images are clustered by :class:`~dkmeans.KMeans`, in few passes over their pixels, which
    are numbered chunk after chunk: where chunks split the lines, its draws depend on the chunks.

    Parameters
    ----------
    image : ndarray, dask array, DataArray, zarr.Array (height, width[, bands]), or path
        A path names a Zarr array or a multiscale image of OME's, also by URI, a TIFF, or a picture
        that Pillow reads. A DataArray of xarray's gives results with its dimensions, coordinates
        and attributes.
    k : int or several
        Colours; more than there are distinct ones in the image give those, and a warning. Several
        are found from the same pass.
    random_state : int, RandomState or None, default=None
        Determines the draws.
    space : {"srgb", "lab", "oklab"}, default="srgb"
        Space in which squared distances are taken: CIE Lab under D65 and Oklab (Ottosson 2020) are
        for sRGB of 8 bits.
    n_init : "auto" or int, default="auto"
        Restarts; "auto" is 3 to 10 where distinct colours are clustered, the more the fewer these
        are, else 1. Among 262,144 distinct colours or more it is 1 to 10 starts, of which the best
        goes on: they are among the means of boxes of colours.
    alpha : bool, optional
        Whether the last band is alpha: it is kept, and pixels for which it is 0 take no part. None:
        as the file says; for arrays whose axes have no names, whether there are 4 bands, the last
        axis.
    any_size : bool, default=False
        Decode pictures beyond Pillow's limit against decompression bombs.
    memory_limit : int, str or None, default=None
        Bytes that this may use above what the process has, such as ``"1 GiB"``.
    nodata : float, optional
        Value that stands for none: pixels that have it, or NaN, in any band take no part and have
        the label -1. None: as attributes (``_FillValue``, ``missing_value``, ``nodata``,
        ``nodatavals``) or GDAL's tag of a TIFF say.
    standardize : bool, default=False
        Take distances where each band has the mean 0 and the deviation 1 over the pixels that take
        part, which are found exactly: in one pass more, or from the counts of the distinct
        colours. Centers are in the units of the image all the same.
    channel_axis : int or str, optional
        Axis of the bands, by number or name. None: as its name says, else the last.
    storage_options : mapping, optional
        Options of the storage behind a URI.

    Returns
    -------
    Quantized, or a dict of one for each k where there are several

    Raises
    ------
    SourceError, DataError
        The image cannot be read, or is none; every pixel is transparent.
    MemoryLimitError
        The work does not fit in ``memory_limit``.
    MissingExtraError
        The file needs Pillow or tifffile: ``pip install "dkmeans[image]"``.

    References
    ----------
    Lloyd 1982, "Least squares quantization in PCM". Where colours are many: Kanungo et al. 2002,
    "An efficient k-means clustering algorithm", the filtering algorithm, on boxes of colours;
    Nesterov 1983, "A method for solving the convex programming problem with convergence rate
    O(1/k^2)"; O'Donoghue and Candes 2015, "Adaptive restart for accelerated gradient schemes".

    Examples
    --------
    >>> import numpy as np
    >>> from dkmeans.image import quantize
    >>> found = quantize(np.array([[0, 1, 200], [0, 2, 200]], np.uint8), 2, random_state=0)
    >>> found.palette.tolist(), found.labels.tolist()
    ([[1], [200]], [[0, 0, 1], [0, 0, 1]])
    """
    several = not isinstance(k, Integral)
    numbers = _numbers(k)
    opened = open_image(
        image,
        alpha=alpha,
        any_size=any_size,
        nodata=nodata,
        channel_axis=channel_axis,
        storage_options=storage_options,
    )
    _check_space(opened, space, standardize=standardize)
    _check_starts(n_init)
    road = distinct_palettes if opened.is_countable else few_pass_palettes
    palettes = road(opened, numbers, Search(space, n_init, random_state, memory_limit, standardize))
    found = {}
    for number, palette in zip(numbers, palettes, strict=True):
        if len(palette.colors) < number:
            warnings.warn(
                f"{opened.where} has fewer distinct colours than k={number}: the palette has"
                f" {len(palette.colors)}",
                ConvergenceWarning,
                stacklevel=2,
            )
        found[number] = Quantized(palette, opened, memory_limit)
    return found if several else found[numbers[0]]


def _numbers(k: Any) -> list[int]:
    numbers: list[Any] = list(k) if np.iterable(k) else [k]
    wrong = [n for n in numbers if isinstance(n, bool) or not isinstance(n, Integral) or n < 1]
    if wrong or not numbers:
        got = repr(wrong[0]) if wrong else "none"
        raise ValueError(f"k must be a positive integer or several, such as [2, 4, 8]; got {got}")
    return sorted({int(n) for n in numbers})


def _check_starts(n_init: Any) -> None:
    whole = isinstance(n_init, Integral) and not isinstance(n_init, bool)
    if n_init != "auto" and not (whole and n_init >= 1):
        raise ValueError(f"n_init must be 'auto' or a positive integer; got {n_init!r}")


def _check_space(image: Image, space: str, *, standardize: bool) -> None:
    if space not in color_spaces.SPACES:
        raise ValueError(f"space must be one of {', '.join(color_spaces.SPACES)}; got {space!r}")
    if space != "srgb" and not (image.is_countable and image.colors == 3):
        raise DataError(
            f"space={space!r} is for 3 bands of 8 bits; {image.where} has {image.colors} of"
            f" {image.dtype}, for which there is space='srgb'"
        )
    if space != "srgb" and standardize:
        raise ValueError(f"standardize=True has its own space; got space={space!r} with it")
