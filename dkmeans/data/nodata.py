"""Values that stand for no data, and which pixels have one."""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

from dkmeans._typing import AnyArray
from dkmeans.errors import DataError

GDAL_TAG = 42113  # of a TIFF
ATTRIBUTES = ("_FillValue", "missing_value", "nodata", "nodatavals")  # the first that is there


def taking_part(pixels: AnyArray, colors: int, alpha: bool, nodata: Any) -> AnyArray:
    """Which pixels (..., bands) are opaque and have no ``nodata`` in any band, (...) bool.

    NaN is left to the caller; ``nodata`` is a value of the pixels' type, or None.
    """
    keep: AnyArray = np.ones(pixels.shape[:-1], bool)
    if alpha:
        keep &= pixels[..., colors] > 0
    if nodata is not None:
        for band in range(colors):
            keep &= pixels[..., band] != nodata
    return keep


def blanked(rows: AnyArray, colors: int, alpha: bool, nodata: Any) -> AnyArray:
    """The colours of rows (n, bands) as floats, NaN in all bands where a pixel takes no part."""
    width = np.float32 if rows.dtype == np.float32 else np.float64
    out: AnyArray = rows[:, :colors].astype(width)
    out[~(taking_part(rows, colors, alpha, nodata) & np.isfinite(out).all(axis=1))] = np.nan
    return out


def nodata_given(value: Any, dtype: np.dtype[Any]) -> Any:
    """What a caller gives as nodata, in the type of the pixels; None for NaN, which is always so.

    Raises
    ------
    DataError
        It is no number, or none that pixels of this type can have.
    """
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise DataError(f"nodata must be a number, got {value!r}") from error
    if dtype.kind == "f" and np.isnan(number):
        return None
    found = _as_type(value, dtype)
    if found is None:
        raise DataError(f"nodata={value!r} is no value that pixels of {dtype} can have")
    return found


def nodata_of(attributes: Mapping[str, Any], dtype: np.dtype[Any], where: str) -> Any:
    """The nodata that attributes tell of, in the type of the pixels; None where they tell none.

    Raises
    ------
    DataError
        They tell of several values.
    """
    for name in ATTRIBUTES:
        if attributes.get(name) is None:
            continue
        told = np.atleast_1d(attributes[name]).ravel().tolist()
        several = {str(value): _decoded(value) for value in told if value is not None}
        if len(several) > 1:
            raise DataError(
                f"{where} has several values in its attribute {name}: {', '.join(several)}; give"
                " one as nodata=, or make all of them NaN"
            )
        for value in several.values():
            return _as_type(value, dtype)
    return None


def _decoded(value: Any) -> Any:
    """A number; xarray writes those of floats to Zarr as the base64 of eight bytes."""
    if not isinstance(value, str):
        return value
    try:
        return float(value)
    except ValueError:
        pass
    try:
        return struct.unpack("<d", base64.standard_b64decode(value))[0]
    except (binascii.Error, struct.error, ValueError):
        return None


def _as_type(value: Any, dtype: np.dtype[Any]) -> Any:
    """The value in this type, or None where the type has no such value; NaN is None."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    if np.isnan(number):
        return None
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            return dtype.type(number)
    whole = int(value) if np.isfinite(number) and number == int(number) else None
    limits = np.iinfo(dtype)
    return None if whole is None or not limits.min <= whole <= limits.max else dtype.type(whole)
