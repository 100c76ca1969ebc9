"""xarray's DataArray as images, and results as such again."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import dask.array as da
import numpy as np

from dkmeans.data.geotiff import Place, geo_transform
from dkmeans.data.image_axes import X_NAMES, Axes, find_axes
from dkmeans.data.nodata import ATTRIBUTES
from dkmeans.errors import DataError, OutputError

_OF_VALUES = ("units", "scale_factor", "add_offset", "valid_range", "valid_min", "valid_max")
_GRID, _USUAL_GRID = "grid_mapping", "spatial_ref"


def is_xarray(image: Any) -> bool:
    """Whether this is an object of xarray's, which is not imported to find out."""
    return type(image).__module__.split(".")[0] == "xarray"


@dataclass(frozen=True, eq=False)
class Frame:
    """What a DataArray has beside its values.

    Parameters
    ----------
    name, attrs, encoding : the DataArray's.
    coords : a Dataset of its coordinates.
    dims : names of height, width and bands, these where there are any.
    axes : where these are in it.
    """

    name: Hashable
    attrs: dict[Any, Any]
    encoding: dict[Any, Any]
    coords: Any
    dims: tuple[Any, ...]
    axes: Axes

    def labels(self, values: Any) -> Any:
        """Labels (height, width), lazy or not, with the attributes that labels can have."""
        gone = (*ATTRIBUTES, *_OF_VALUES)
        attrs = {name: value for name, value in self.attrs.items() if name not in gone}
        return self._framed(values, self.dims[:2], "labels", attrs | {"_FillValue": -1})

    def image(self, values: Any) -> Any:
        """Values with their axes in the order of the DataArray."""
        dims = list(self.dims[:2])
        dims[self.axes.channel_axis : self.axes.channel_axis] = self.dims[2:]
        return self._framed(values, dims, self.name, self.attrs)

    def _framed(self, values: Any, dims: Any, name: Hashable, attrs: dict[Any, Any]) -> Any:
        import xarray

        gone = dict.fromkeys((dim for dim in self.coords.dims if dim not in dims), 0)
        coords = self.coords.isel(gone, drop=True).coords
        found = xarray.DataArray(values, coords, dims, name, attrs)
        if _GRID in self.encoding:
            found.encoding[_GRID] = self.encoding[_GRID]
        return found

    @property
    def _grid(self) -> Any:
        """Name of the coordinate whose attributes are the CRS, if it is there."""
        return self.attrs.get(_GRID, self.encoding.get(_GRID, _USUAL_GRID))

    @property
    def has_place(self) -> bool:
        """Whether the coordinates tell where the image is."""
        return self._grid in self.coords or all(dim in self.coords for dim in self.dims[:2])

    def place(self) -> Place:
        """CRS and affine transform, as the coordinates tell them."""
        rows, columns = self.dims[:2]
        if str(rows).lower() in X_NAMES:
            raise OutputError(
                f"lines of a GeoTIFF go along x, those of the image along {columns}: transpose it"
                f" to ({columns}, {rows})"
            )
        told = self.coords[self._grid].attrs if self._grid in self.coords else {}
        transform = None
        if all(dim in self.coords and self.coords.sizes[dim] > 1 for dim in (rows, columns)):
            transform = geo_transform(self.coords[columns].values, self.coords[rows].values)
        elif "GeoTransform" in told:
            transform = tuple(float(number) for number in str(told["GeoTransform"]).split())
        return Place(told.get("crs_wkt", told.get(_USUAL_GRID)), transform)


def open_frame(image: Any, channel_axis: int | str | None) -> tuple[Any, Frame, str]:
    """Values of a DataArray (height, width[, bands]), the rest of it, and what to call it.

    Returns
    -------
    values : ndarray, or a dask array where they are not in memory.

    Raises
    ------
    DataError
        It is a Dataset, or has other dimensions than an image.
    """
    if hasattr(image, "data_vars"):
        names = list(image.data_vars)
        raise DataError(
            f"a Dataset may be several images: it has {', '.join(map(str, names)) or 'none'}; pass"
            f" one of them, such as dataset[{names[0] if names else 'name'!r}], or all as bands:"
            " dataset.to_dataarray('band')"
        )
    if not hasattr(image, "coords") or not hasattr(image, "variable"):
        raise DataError(f"an image is a DataArray, got xarray's {type(image).__name__}")
    where = "a DataArray" if image.name is None else f"DataArray {str(image.name)!r}"
    axes = find_axes(image.shape, image.dims, channel_axis, where)
    values = image.data if image.chunks or image.variable._in_memory else _lazy(image)
    if not isinstance(values, da.Array):
        values = np.asarray(values)
    frame = Frame(
        image.name,
        dict(image.attrs),
        dict(image.encoding),
        image.coords.to_dataset(),
        axes.of(image.dims),
        axes,
    )
    return axes.take(values), frame, where


def _lazy(image: Any) -> da.Array:
    """Values in a file, of which only what is asked for is read."""
    preferred = image.encoding.get("preferred_chunks", {})
    return image.chunk({dim: preferred.get(dim, "auto") for dim in image.dims}).data
