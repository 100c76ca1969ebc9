"""Frozen dataclasses as plain JSON and arrays, and back again.

What is read says nothing of types: :func:`decode` is told which one to expect, and checks each
value against the annotation of its field. So a file can make no object but those that its reader
wants.
"""

from __future__ import annotations

import math
import types
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any, Union, get_args, get_origin, get_type_hints

import numpy as np

from dkmeans._typing import AnyArray

DTYPES = {np.dtype(code).str: np.dtype(code) for code in "?bBhHiIlLfd"}  # that arrays may have
_KINDS = {np.floating: "f", np.integer: "iu", np.bool_: "b"}
_ODD = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}  # floats that JSON does not have
_MOST_TEXT = 2**16


def encode(value: Any, arrays: list[AnyArray]) -> Any:
    """A value as plain JSON; arrays are added to ``arrays``, and stand there by their number."""
    if is_dataclass(value):
        return {f.name: encode(getattr(value, f.name), arrays) for f in fields(value)}
    if isinstance(value, np.ndarray):
        arrays.append(np.asarray(value, order="C"))
        return len(arrays) - 1
    if isinstance(value, list | tuple):
        return [encode(one, arrays) for one in value]
    if isinstance(value, dict):
        return [[encode(k, arrays), encode(v, arrays)] for k, v in value.items()]
    if isinstance(value, np.dtype):
        return value.str
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"{type(value).__name__} cannot be encoded")


def decode(kind: Any, plain: Any, arrays: Sequence[AnyArray]) -> Any:
    """The inverse of :func:`encode` for a value that is annotated as ``kind``.

    Raises
    ------
    ValueError
        If the value is not of that type.
    """
    origin, args = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        inner = [arg for arg in args if arg is not type(None)]
        return None if plain is None and len(inner) < len(args) else decode(inner[0], plain, arrays)
    if origin is tuple:
        return _tuple(args, _list(plain), arrays)
    if origin is dict:
        pairs = [_tuple(args, _list(pair), arrays) for pair in _list(plain)]
        if len(dict(pairs)) < len(pairs):
            raise ValueError("a key is there twice")
        return dict(pairs)
    if origin is np.ndarray:
        return _array(args[1], plain, arrays)
    if is_dataclass(kind):
        return _instance(kind, plain, arrays)
    return _SCALARS[origin or kind](plain)


def _instance(kind: Any, plain: Any, arrays: Sequence[AnyArray]) -> Any:
    hints = _hints(kind)
    if not isinstance(plain, dict) or plain.keys() != hints.keys():
        raise ValueError(f"not the fields of {kind.__name__}")
    return kind(**{name: decode(hint, plain[name], arrays) for name, hint in hints.items()})


@cache
def _hints(kind: Any) -> dict[str, Any]:
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in fields(kind)}


def _tuple(args: tuple[Any, ...], plain: list[Any], arrays: Sequence[AnyArray]) -> tuple[Any, ...]:
    kinds = args[:1] * len(plain) if args[-1] is Ellipsis else args
    if len(kinds) != len(plain):
        raise ValueError(f"{len(plain)} values instead of {len(kinds)}")
    return tuple(decode(kind, one, arrays) for kind, one in zip(kinds, plain, strict=True))


def _list(plain: Any) -> list[Any]:
    if not isinstance(plain, list):
        raise ValueError(f"{type(plain).__name__} instead of a list")
    return plain


def _array(dtype: Any, plain: Any, arrays: Sequence[AnyArray]) -> AnyArray:
    number = _int(plain)
    if not 0 <= number < len(arrays):
        raise ValueError(f"no array {number}")
    scalar = get_args(dtype)[0]
    kinds = _KINDS.get(get_origin(scalar) or scalar, "fiub")
    if arrays[number].dtype.kind not in kinds:
        raise ValueError(f"an array of {arrays[number].dtype}")
    return arrays[number]


def _int(plain: Any) -> int:
    if type(plain) is not int or not -(2**63) <= plain < 2**64:
        raise ValueError(f"{type(plain).__name__} instead of an integer of 64 bits")
    return plain


def _float(plain: Any) -> float:
    if isinstance(plain, str) and plain in _ODD:
        return _ODD[plain]
    if type(plain) not in (int, float) or not abs(plain) < math.inf:
        raise ValueError(f"{type(plain).__name__} instead of a number")
    if isinstance(plain, int) and abs(plain) > 2**53:
        raise ValueError("an integer instead of a float")
    return float(plain)


def _bool(plain: Any) -> bool:
    if not isinstance(plain, bool):
        raise ValueError(f"{type(plain).__name__} instead of true or false")
    return plain


def _text(plain: Any) -> str:
    if not isinstance(plain, str) or len(plain) > _MOST_TEXT or not plain.isprintable():
        raise ValueError("no text, or one that cannot be printed")
    return plain


def _unsigned(plain: Any) -> np.uint64:
    if _int(plain) < 0:
        raise ValueError("a negative number")
    return np.uint64(plain)


def dtype_of(plain: Any) -> np.dtype[Any]:
    """The type of an array that is called so."""
    if not isinstance(plain, str) or plain not in DTYPES:
        raise ValueError("an array of a type that no fit writes")
    return DTYPES[plain]


_SCALARS: dict[Any, Any] = {
    int: _int,
    float: _float,
    bool: _bool,
    str: _text,
    np.uint64: _unsigned,
    np.dtype: dtype_of,
}
