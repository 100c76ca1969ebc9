"""Images in Zarr: arrays, and multiscale images of OME-NGFF 0.4 and 0.5."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dkmeans.data.zarr_source import guarded_array
from dkmeans.errors import MissingExtraError, SourceError


@dataclass(frozen=True, eq=False)
class ZarrImage:
    """A Zarr array of an image.

    Parameters
    ----------
    where : path or URI, for people.
    names : of the axes, where the array or the metadata of OME tell them.
    """

    array: Any
    where: str
    names: tuple[str, ...] | None

    @property
    def chunk(self) -> tuple[int, ...]:
        """Of each axis, what storage reads whole."""
        return tuple(getattr(self.array, "shards", None) or self.array.chunks)


def open_zarr_path(path: str, storage_options: Mapping[str, Any] | None) -> ZarrImage:
    """Open the image at a path or URI.

    Raises
    ------
    SourceError
        There is no Zarr array, nor a group of a multiscale image.
    MissingExtraError
        The URI needs a package that is not installed.
    """
    import zarr

    options: dict[str, Any] = {"storage_options": dict(storage_options)} if storage_options else {}
    try:
        found = zarr.open(path, mode="r", **options)
    except FileNotFoundError as error:
        raise SourceError(f"{path} is no Zarr array or group") from error
    except ImportError as error:
        raise MissingExtraError(f"reading {path}", "s3") from error
    except Exception as error:
        raise SourceError(f"cannot open {path}: {type(error).__name__}: {error}") from error
    return open_zarr_object(found, path)


def open_zarr_object(found: Any, where: str) -> ZarrImage:
    """The image in an array, or in a group of OME's: that of the full resolution."""
    if hasattr(found, "shape"):
        return ZarrImage(guarded_array(found), where, _names(found))
    scales = _multiscales(found)
    if scales is None:
        raise SourceError(
            f"{where} is a Zarr group with {_contents(found)}; pass one of its arrays"
        )
    try:
        path = scales[0]["datasets"][0]["path"]
        names = tuple(
            axis if isinstance(axis, str) else str(axis["name"])
            for axis in scales[0].get("axes", "tczyx")
        )
        array = found[path]
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise SourceError(
            f"{where} says that it is a multiscale image, and not where:"
            f" {type(error).__name__}: {error}"
        ) from error
    if not hasattr(array, "shape") or array.ndim != len(names):
        raise SourceError(f"{where} says that {path} has the axes {', '.join(names)}; it has not")
    return ZarrImage(guarded_array(array), f"{where} ({path})", names)


def _multiscales(group: Any) -> Any:
    """Metadata of OME-NGFF 0.5, or of 0.4 and before."""
    told = group.attrs.get("ome", group.attrs)
    return told.get("multiscales") if hasattr(told, "get") else None


def _contents(group: Any) -> str:
    return ", ".join(name for name, _ in group.arrays()) or "no array"


def _names(array: Any) -> tuple[str, ...] | None:
    """Names of the axes, as Zarr 3 or xarray in Zarr 2 stores them."""
    names = getattr(array.metadata, "dimension_names", None) or array.attrs.get("_ARRAY_DIMENSIONS")
    if not names or len(names) != array.ndim or not all(isinstance(n, str) for n in names):
        return None
    return tuple(names)
