"""Sums and distances of rows in the vector registers of the processor at hand, in float64."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba.core import types
from numba.extending import intrinsic

from dkmeans.engine.vectors import (
    DOUBLE,
    DOUBLES,
    EIGHT,
    FLOAT,
    INT,
    LONG,
    LONGS,
    Build,
    Value,
    address,
    arguments,
    cgutils,
    first_lanes,
    load_vector,
    masked_load,
    sizes_of,
    store_vector,
)

AT_ONCE = (8, 2)  # times eight numbers, as long as there are so many


def _to_doubles(b: Build, x: Value, kind: Any) -> Value:
    """Numbers of the data's own type as float64."""
    if kind == types.float64:
        return x
    if isinstance(kind, types.Float):
        return b.fpext(x, DOUBLES)
    return b.sitofp(x, DOUBLES) if kind.signed else b.uitofp(x, DOUBLES)


def _numbers(b: Build, pointer: Value, kind: Any, mask: Value | None) -> Value:
    """Eight numbers of the data's own type as float64."""
    vector = ir.VectorType(pointer.type.pointee, EIGHT)
    align = kind.bitwidth // 8
    if mask is None:
        x = b.load(b.bitcast(pointer, vector.as_pointer()), align=align)
    else:
        x = masked_load(b, pointer, vector, mask, align)
    return _to_doubles(b, x, kind)


def _add_block(b: Build, spot: Any, f: Value, count: int, mask: Value | None) -> None:
    """Add ``count`` times 8 features from ``f`` on of each row of a tile to its cluster's sums."""
    d = sizes_of(b, spot.X)[1]
    stride = sizes_of(b, spot.table)[1]
    bases = [
        load_vector(b, address(b, spot.base.data, f, EIGHT * c), DOUBLES) for c in range(count)
    ]
    with cgutils.for_range(b, spot.m) as row:
        label = b.load(address(b, spot.labels.data, row.index))
        with b.if_then(b.icmp_signed(">=", label, INT(0)), likely=True):
            copy = b.mul(b.and_(row.index, spot.copies), spot.k)
            at = b.mul(b.add(b.zext(label, LONG), copy), stride)
            target = address(b, spot.table.data, at, f)
            source = address(b, spot.X.data, b.mul(b.add(spot.start, row.index), d), f)
            for c, base in enumerate(bases):
                x = _numbers(b, address(b, source, EIGHT * c), spot.kind, mask)
                bits = b.bitcast(b.fadd(x, base), LONGS)  # of the number rounded to its grid
                place = address(b, target, EIGHT * c)
                store_vector(b, b.add(load_vector(b, place, LONGS), bits), place)


def _add_rows_code(context: Any, b: Build, signature: Any, values: Any) -> Value:
    X, start, m, labels, base, table, k, copies = arguments(context, b, signature, values)
    kind = signature.args[0].dtype
    spot = SimpleNamespace(X=X, start=start, m=m, labels=labels, base=base, table=table, k=k)
    spot.copies, spot.kind = b.sub(copies, LONG(1)), kind
    d, begin = sizes_of(b, X)[1], LONG(0)
    for count in AT_ONCE:
        step = LONG(EIGHT * count)
        end = b.mul(b.udiv(d, step), step)
        with cgutils.for_range_slice(b, begin, end, step) as (f, _):
            _add_block(b, spot, f, count, None)
        begin = end
    with cgutils.for_range_slice(b, begin, d, LONG(EIGHT)) as (f, _):
        _add_block(b, spot, f, 1, first_lanes(b, b.trunc(b.sub(d, f), INT), EIGHT))
    return context.get_dummy_value()


def _add_rows(context, X, start, m, labels, base, table, k, copies):  # type: ignore
    """Add the bits of ``row + base`` of m rows to their clusters' rows of ``table``.

    ``table`` (copies * k, width) int64 has as many features as X or more, a multiple of 8; ``base``
    likewise. Rows take turns on the copies, a power of two: adding to what was stored just now is
    slow.
    """
    arguments = (X, types.intp, types.intp, labels, base, table, types.intp, types.intp)
    return types.void(*arguments), _add_rows_code


def _add_squares(b: Build, x: Value, centers: list[Value], sums: list[Value], mask: Any) -> None:
    """Add to each sum the squares of the differences of 8 features."""
    for center, sum_ in zip(centers, sums, strict=True):
        diff = b.fsub(x, _numbers(b, center, types.float64, mask))
        b.store(b.fadd(b.load(sum_), b.fmul(diff, diff)), sum_)


def _folded(b: Build, vector: Value) -> Value:
    """The sum of 8 numbers, in halves: always in the same order."""
    parts = [b.extract_element(vector, INT(i)) for i in range(EIGHT)]
    while len(parts) > 1:
        half = len(parts) // 2
        parts = [b.fadd(parts[i], parts[half + i]) for i in range(half)]
    return parts[0]


def _row_distances_code(context: Any, b: Build, signature: Any, values: Any) -> Value:
    X, i, centers, out = arguments(context, b, signature, values)
    kind, single = signature.args[0].dtype, signature.args[3].dtype == types.float32
    k, d = sizes_of(b, centers)
    row, target = address(b, X.data, b.mul(i, d)), address(b, out.data, b.mul(i, k))
    whole = b.mul(b.udiv(d, LONG(EIGHT)), LONG(EIGHT))
    root = cgutils.get_or_insert_function(
        b.module, ir.FunctionType(DOUBLE, [DOUBLE]), "llvm.sqrt.f64"
    )
    sums = [cgutils.alloca_once(b, DOUBLES) for _ in range(4)]
    with cgutils.for_range_slice(b, LONG(0), k, LONG(len(sums))) as (first, _):
        labels = [b.add(first, LONG(c)) for c in range(len(sums))]  # the last again, if need be
        labels = [b.select(b.icmp_signed("<", j, k), j, b.sub(k, LONG(1))) for j in labels]
        for sum_ in sums:
            b.store(ir.Constant(DOUBLES, [0.0] * EIGHT), sum_)
        for begin, end in ((LONG(0), whole), (whole, d)):
            with cgutils.for_range_slice(b, begin, end, LONG(EIGHT)) as (f, _):
                mask = first_lanes(b, b.trunc(b.sub(d, f), INT), EIGHT) if end is d else None
                places = [address(b, centers.data, b.mul(j, d), f) for j in labels]
                _add_squares(b, _numbers(b, address(b, row, f), kind, mask), places, sums, mask)
        for j, sum_ in zip(labels, sums, strict=True):
            distance = b.call(root, [_folded(b, b.load(sum_))])
            b.store(b.fptrunc(distance, FLOAT) if single else distance, address(b, target, j))
    return context.get_dummy_value()


def _row_distances(context, X, i, centers, out):  # type: ignore
    """Write to row i of ``out`` (n, k) the distances of row i of X to centers (k, d) float64.

    The direct formula in float64, added up in an order that is the same on every processor.
    """
    return types.void(X, types.intp, centers, out), _row_distances_code


add_rows = intrinsic(_add_rows)
row_distances = intrinsic(_row_distances)
