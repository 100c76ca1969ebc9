"""Reading JSON and arrays that someone else may have written."""

from __future__ import annotations

import json
import math
import os
import zipfile
from typing import IO, Any, NoReturn

import numpy as np

from dkmeans._typing import AnyArray

PARSE_ERRORS = (
    *(OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, EOFError),
    *(OverflowError, RecursionError, NotImplementedError, zipfile.BadZipFile),
)


def strict_json(text: str | bytes) -> dict[str, Any]:
    """A JSON object without NaN, infinity or names that are there twice.

    Raises
    ------
    ValueError, RecursionError
        If the text is anything else.
    """
    found = json.loads(text, parse_constant=_refused, object_pairs_hook=_object)
    if not isinstance(found, dict):
        raise ValueError(f"{type(found).__name__} in place of a JSON object")
    return found


def _refused(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number of JSON")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name is there twice")
    return found


def read_npz(path: str | os.PathLike[str] | IO[bytes]) -> dict[str, AnyArray]:
    """Arrays of an ``.npz`` file that is not compressed, and so no larger than it looks.

    Raises
    ------
    ValueError, OSError, zipfile.BadZipFile
        If the file is anything else, or an array not of the size that it claims.
    """
    arrays: dict[str, AnyArray] = {}
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            name = entry.filename.removesuffix(".npy")
            if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
                raise ValueError(f"{name!r} is compressed")
            if name == entry.filename or name in arrays:
                raise ValueError(f"{entry.filename!r} is no array, or there twice")
            with archive.open(entry) as file:
                arrays[name] = _array(file, entry.file_size, name)
    return arrays


def _array(file: IO[bytes], size: int, name: str) -> AnyArray:
    """An array of the ``.npy`` format (numpy.lib.format), once its claims are found to be true."""
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
    elif version == (2, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_2_0(file)
    else:
        raise ValueError(f"array {name!r} is of version {version}")
    if dtype.hasobject or dtype.names is not None or min(shape, default=0) < 0:
        raise ValueError(f"array {name!r} of {dtype} and shape {shape}")
    n_bytes = math.prod(shape) * dtype.itemsize
    if file.tell() + n_bytes != size:
        raise ValueError(f"array {name!r} of shape {shape} has other than {n_bytes:,} bytes")
    flat = np.frombuffer(bytearray(file.read(n_bytes)), dtype)
    file.read(1)  # at the end, where the checksum is compared
    return flat.reshape(shape, order="F" if fortran else "C")
