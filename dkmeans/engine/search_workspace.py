# mypy: disallow-untyped-calls=False, disallow-untyped-decorators=False
"""The state of one search, as the search's kernels see it: a pointer.

Passed as a tuple of arrays it is some two hundred numbers to each function, and compiling that took
longer than compiling what they do. So arrays are found through a table of sizes and addresses,
which no kernel writes to: their loads are marked as such, and may be moved out of every loop.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba.core import cgutils as _cgutils
from numba.core import types
from numba.core.datamodel import models as _models
from numba.core.typing.templates import AttributeTemplate
from numba.extending import (
    NativeValue,
    infer_getattr,
    lower_getattr_generic,
    register_model,
    typeof_impl,
    unbox,
)
from numba.np import arrayobj as _arrayobj

from dkmeans._typing import AnyArray, Floats, Ints

cgutils: Any = _cgutils
models: Any = _models
arrayobj: Any = _arrayobj
WIDTH = 64  # rows of a tile
NEAR, NEXT, FRESH, GONE = 0, 1, 2, 3  # squared distance to the nearest center, the second,
# the one on trial, the one given up
_SIZES = ("t", "d", "q", "k", "n", "s")  # tiles, features, fours of centers, centers, rows, state
_STATE = ("sums", "stats", "centers", "own", "dist")  # of ``dist`` only near and next
_ARRAYS: dict[str, tuple[Any, ...]] = {
    "tiles": (types.float32, "t", "d", WIDTH),
    "weights": (types.float32, "t", WIDTH),
    "centers": (types.float32, "q", "d", 4),
    "dist": (types.float32, 4, "t", WIDTH),
    "own": (types.int32, "t", WIDTH),
    "rows": (types.int32, "n"),
    "share": (types.float64, "t"),
    "stats": (types.float64, 4, "k"),
    "sums": (types.float64, "k", "d"),
    "few": (types.float32, "q", "d", 4),
    "which": (types.int32, "k"),
    "point": (types.float32, "d"),
    "spare": (types.float32, "d"),
    "tile": (types.float32, 1, "d", WIDTH),
    "scores": (types.float32, 6, WIDTH),
    "labels": (types.int32, WIDTH),
    "random": (types.uint64, 2),
    "state": (types.int32, "s"),
    "saved": (types.int32, "s"),
    "saved_centers": (types.float32, "q", "d", 4),
    "saved_dist": (types.float32, 2, "t", WIDTH),
}


class Workspace:
    """Rows, the state of one search, and scratch, for k centers of the rows in ``tiles``."""

    tiles: AnyArray  # d is even, the last tile is filled up with zeros
    weights: AnyArray  # zero where filled up
    centers: AnyArray
    dist: AnyArray  # near, next, fresh, gone
    own: Ints  # nearest center
    rows: Ints  # to scan
    share: Floats  # cost of each tile
    stats: Floats  # loss, change, mass, shift
    sums: Floats  # of the rows of each center
    few: AnyArray  # centers that moved
    which: Ints  # and their numbers
    point: AnyArray  # the center on trial
    spare: AnyArray  # the center given up
    tile: AnyArray  # rows gathered
    scores: AnyArray  # of four centers, of the nearest two
    labels: Ints  # the nearest
    random: AnyArray  # key, and number of the draws made
    state: Ints  # all that a swap changes, which lies in one piece: ``_STATE``
    saved: Ints  # as it was
    saved_centers: AnyArray
    saved_dist: AnyArray  # near, next

    def __init__(self, tiles: AnyArray, weights: AnyArray, k: int) -> None:
        """What is only read, rows and weights, can be shared by several."""
        t, d, _ = tiles.shape
        sizes = {"t": t, "d": d, "q": -(-k // 4), "k": k, "n": t * WIDTH}
        shapes = {
            name: tuple(sizes.get(size, size) for size in shape)
            for name, (_, *shape) in _ARRAYS.items()
            if name not in ("state", "saved")
        }
        words = {n: math.prod(shapes[n]) * _ARRAYS[n][0].bitwidth // 32 for n in _STATE}
        whole = np.zeros((sum(words.values()) + 1) // 2, np.float64).view(np.int32)
        sizes["s"] = sum(words.values()) - 2 * t * WIDTH
        arrays = {"tiles": tiles, "weights": weights, "state": whole[: sizes["s"]]}
        arrays["saved"] = np.zeros(sizes["s"], np.int32)
        start = 0
        for name, count in words.items():
            for held, piece in ((name, whole), (f"saved_{name}", arrays["saved"])):
                if held in _ARRAYS:
                    part = piece[start : start + count].view(_ARRAYS[held][0].name)
                    arrays[held] = part.reshape(shapes[held])
            start += count
        addresses = []
        for name, (kind, *_) in _ARRAYS.items():
            if name not in arrays:
                arrays[name] = np.zeros(shapes[name], kind.name)
            array = arrays[name]
            shape = shapes.get(name, array.shape)
            if array.shape != shape or array.dtype != kind.name or not array.flags.c_contiguous:
                raise ValueError(f"'{name}' must be C-contiguous {kind.name} of shape {shape}")
            setattr(self, name, array)
            addresses.append(array.__array_interface__["data"][0])
        self._table = np.array([*sizes.values(), *addresses], np.int64)
        self.address: int = self._table.__array_interface__["data"][0]

    def take(self, order: Ints) -> Workspace:
        """The same search with its rows in another order."""
        t, d, _ = self.tiles.shape
        columns = self.tiles.transpose(1, 0, 2).reshape(d, -1)[:, order]
        tiles = np.ascontiguousarray(columns.reshape(d, t, WIDTH).transpose(1, 0, 2))
        weights = self.weights.ravel()[order].reshape(t, WIDTH)
        work = Workspace(tiles, weights, len(self.sums))
        work.centers[:], work.random[:] = self.centers, self.random
        for name in (NEAR, NEXT):
            work.dist[name] = self.dist[name].ravel()[order].reshape(t, WIDTH)
        work.own[:] = self.own.ravel()[order].reshape(t, WIDTH)
        return work


class _WorkspaceType(types.Type):
    def __init__(self) -> None:
        super().__init__(name="dkmeans.Workspace")


workspace_type = _WorkspaceType()


@register_model(_WorkspaceType)
class _WorkspaceModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, ir.IntType(64).as_pointer())


@typeof_impl.register(Workspace)
def _typeof_workspace(value: Workspace, context: Any) -> Any:
    return workspace_type


@unbox(_WorkspaceType)
def _unbox_workspace(kind: Any, value: Any, c: Any) -> Any:
    number = c.pyapi.object_getattr_string(value, "address")
    pointer = c.pyapi.long_as_voidptr(number)
    c.pyapi.decref(number)
    pointer = c.builder.bitcast(pointer, ir.IntType(64).as_pointer())
    return NativeValue(pointer, is_error=cgutils.is_not_null(c.builder, c.pyapi.err_occurred()))


@infer_getattr
class _WorkspaceAttributes(AttributeTemplate):
    key = _WorkspaceType

    def generic_resolve(self, work: Any, name: str) -> Any:  # type: ignore[override]
        if name not in _ARRAYS:
            return None
        kind, *shape = _ARRAYS[name]
        return types.Array(kind, len(shape), "C")


@lower_getattr_generic(_WorkspaceType)
def _get_array(context: Any, builder: Any, kind: Any, table: Any, name: str) -> Any:
    """An array that nobody owns, of the sizes and at the address in the table."""

    def load(i: int) -> Any:
        value = builder.load(builder.gep(table, [ir.IntType(64)(i)]))
        value.set_metadata("invariant.load", builder.module.add_metadata([]))
        return value

    number, *shape = _ARRAYS[name]
    array_type = types.Array(number, len(shape), "C")
    array = arrayobj.make_array(array_type)(context, builder)
    sizes = [
        load(_SIZES.index(size)) if isinstance(size, str) else ir.IntType(64)(size)
        for size in shape
    ]
    strides = [ir.IntType(64)(number.bitwidth // 8)]
    for size in sizes[:0:-1]:
        strides.insert(0, builder.mul(strides[0], size))
    data = load(len(_SIZES) + list(_ARRAYS).index(name))
    arrayobj.populate_array(
        array,
        builder.inttoptr(data, context.get_data_type(number).as_pointer()),
        sizes,
        strides,
        number.bitwidth // 8,
        None,
    )
    return array._getvalue()
