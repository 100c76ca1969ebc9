"""Which axes of an array are the height, the width and the bands of an image."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dkmeans._typing import AnyArray
from dkmeans.errors import DataError

X_NAMES = ("x", "lon", "longitude", "easting", "col", "column", "width")
Y_NAMES = ("y", "lat", "latitude", "northing", "row", "line", "height")
_BAND_NAMES = ("band", "bands", "c", "channel", "channels", "s", "variable", "wavelength")


@dataclass(frozen=True)
class Axes:
    """Where an image is in an array: its other axes have a single index.

    Parameters
    ----------
    rows, columns : axes of height and width.
    bands : axis of the bands, or None.
    ndim : of the array.
    """

    rows: int
    columns: int
    bands: int | None
    ndim: int

    @property
    def kept(self) -> list[int]:
        """Axes (height, width[, bands]) of the array."""
        last = [] if self.bands is None else [self.bands]
        return [self.rows, self.columns, *last]

    @property
    def channel_axis(self) -> int:
        """Where the bands are among the axes of the image, 2 where there are none."""
        return 2 if self.bands is None else sorted(self.kept).index(self.bands)

    @property
    def plain(self) -> bool:
        """Whether the array is (height, width[, bands]) as it is."""
        return self.kept == list(range(self.ndim))

    def of(self, values: Sequence[Any]) -> tuple[Any, ...]:
        """What belongs to height, width and bands, of what belongs to each axis of the array."""
        return tuple(values[axis] for axis in self.kept)

    def take(self, array: Any) -> Any:
        """The image (height, width[, bands]) of a NumPy or dask array, without a copy."""
        index = tuple(slice(None) if axis in self.kept else 0 for axis in range(self.ndim))
        return array[index].transpose([sorted(self.kept).index(axis) for axis in self.kept])


class Reordered:
    """An array in storage as an image (height, width[, bands]), of which a block can be read."""

    def __init__(self, array: Any, axes: Axes) -> None:
        self.array, self.axes = array, axes
        self.shape = axes.of(array.shape)
        self.dtype, self.ndim = array.dtype, len(self.shape)

    def __getitem__(self, key: tuple[slice, ...]) -> AnyArray:
        """A block."""
        index: list[Any] = [slice(0, 1)] * self.axes.ndim
        for axis, part in zip(self.axes.kept, key, strict=True):
            index[axis] = part
        return np.ascontiguousarray(self.axes.take(np.asarray(self.array[tuple(index)])))


def find_axes(
    shape: Sequence[int],
    names: Sequence[Any] | None,
    channel_axis: int | str | None,
    where: str,
) -> Axes:
    """Find the axes of an image; axes with a single index may be beside them.

    Parameters
    ----------
    names : of the axes, or None where they have none.
    channel_axis : the bands' axis by number or name. None: as the names say, and where none of them
        is known, the last of three.

    Raises
    ------
    DataError
        It cannot be told which axis the bands are, or there are more axes than an image has.
    """
    ndim = len(shape)
    known = [] if names is None else [str(name).lower() for name in names]
    bands: int | None = None
    if channel_axis is not None:
        bands = _given(channel_axis, ndim, known, where)
    elif set(known) & {*X_NAMES, *Y_NAMES, *_BAND_NAMES}:
        called = [axis for axis, name in enumerate(known) if name in _BAND_NAMES]
        bands = called[0] if len(called) == 1 else None
    else:
        bands = 2 if ndim == 3 else None
    others = [axis for axis in range(ndim) if axis != bands]
    if len(others) > 2:
        others = _without_single(others, shape, known)
    if len(others) != 2:
        said = f" with the axes {', '.join(map(str, names))}" if names is not None else ""
        raise DataError(
            f"an image is (height, width) or (height, width, bands); {where} has the shape"
            f" {tuple(shape)}{said}: select one plane, or say by channel_axis= (--channel-axis)"
            " which axis is the bands"
        )
    return Axes(others[0], others[1], bands, ndim)


def _given(axis: int | str, ndim: int, names: Sequence[str], where: str) -> int:
    """The axis that a caller gives by its number or name."""
    if isinstance(axis, str) and axis.lower() in names:
        return names.index(axis.lower())
    with contextlib.suppress(ValueError):
        if -ndim <= int(axis) < ndim:
            return int(axis) % ndim
    have = f"the axes {', '.join(names)}" if names else f"{ndim} axes"
    raise DataError(f"channel_axis={axis!r} is no axis of {where}, which has {have}")


def _without_single(axes: list[int], shape: Sequence[int], names: Sequence[str]) -> list[int]:
    """Height and width, where these have their names and all others a single index."""
    spatial = [a for a in axes if names and names[a] in X_NAMES + Y_NAMES]
    others = [a for a in axes if a not in spatial]
    return spatial if len(spatial) == 2 and all(shape[a] == 1 for a in others) else axes
