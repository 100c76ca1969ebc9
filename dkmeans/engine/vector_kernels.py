"""Assignment in the vector registers of the processor at hand, for ``kernels.py``.

A compiler left alone keeps neither the accumulators of a product in registers nor a transposition
out of memory. Both are therefore written down in LLVM's own terms, as vectors of ``LANES`` rows.
Rows are held in panels of ``ROWS``, feature by feature, so that a panel (d, ROWS) is a run of
vectors; centers in blocks of ``BLOCK``, likewise (d, BLOCK).
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba.core import types
from numba.extending import intrinsic

from dkmeans.engine.vectors import (
    FLOAT,
    FLOATS,
    INT,
    INTS,
    LANES,
    LONG,
    ZEROS,
    Build,
    Value,
    address,
    arguments,
    cgutils,
    first_lanes,
    load_vector,
    masked_load,
    multiply_add,
    prefetch,
    sizes_of,
    splat,
    store_vector,
)

GROUPS = 2  # vectors of a panel
ROWS = GROUPS * LANES
BLOCK = 8 if LANES == 16 else 4  # GROUPS * BLOCK accumulators, and what goes with them, fit
CHUNK = 64  # features added up before their sum joins that of the others, which bounds rounding
SHORT = (2, 3, 4, 8)  # features of rows that are packed more directly
AHEAD = 2048  # numbers of X, at least, between those being packed and those being fetched
HUGE = 3e38


def _products(b: Build, rows: Value, centers: Value, count: Value, sums: list[Value]) -> None:
    """Add to sums[c * GROUPS + g] the products of ``count`` features of a panel and of a block."""
    with cgutils.for_range(b, count) as loop:
        row = address(b, rows, b.mul(loop.index, LONG(ROWS)))
        center = address(b, centers, b.mul(loop.index, LONG(BLOCK)))
        x = [load_vector(b, address(b, row, g * LANES)) for g in range(GROUPS)]
        for c in range(BLOCK):
            value = splat(b, b.load(address(b, center, c)), FLOATS)
            for g in range(GROUPS):
                sum_ = sums[c * GROUPS + g]
                b.store(multiply_add(b, x[g], value, b.load(sum_)), sum_)


def _scores(b: Build, rows: Value, centers: Value, const: Value, d: Value) -> list[Value]:
    """Scores of a panel for a block, a chunk of features at a time; see ``CHUNK``."""
    totals = [cgutils.alloca_once(b, FLOATS) for _ in range(BLOCK * GROUPS)]
    sums = [cgutils.alloca_once(b, FLOATS) for _ in range(BLOCK * GROUPS)]
    for at, total in enumerate(totals):
        b.store(splat(b, b.load(address(b, const, at // GROUPS)), FLOATS), total)
    chunk = LONG(CHUNK)
    begin = b.select(b.icmp_signed("<", d, chunk), d, chunk)
    _products(b, rows, centers, begin, totals)
    with cgutils.for_range_slice(b, begin, d, chunk) as (first, _):
        left = b.sub(d, first)
        count = b.select(b.icmp_signed("<", left, chunk), left, chunk)
        for sum_ in sums:
            b.store(ZEROS, sum_)
        row = address(b, rows, b.mul(first, LONG(ROWS)))
        _products(b, row, address(b, centers, b.mul(first, LONG(BLOCK))), count, sums)
        for total, sum_ in zip(totals, sums, strict=True):
            b.store(b.fadd(b.load(sum_), b.load(total)), total)
    return [b.load(total) for total in totals]


def _keep_two(b: Build, scores: list[Value], first: Value, state: list[list[Value]]) -> None:
    """Merge the scores of a block, its lowest index ``first``, into the two best of each row."""
    for c in range(BLOCK):
        label = splat(b, b.add(first, INT(c)), INTS)
        for g in range(GROUPS):
            score = scores[c * GROUPS + g]
            best, second, labels = (b.load(part) for part in state[g])
            worse = b.select(b.fcmp_ordered(">", best, score), best, score)
            b.store(b.select(b.fcmp_ordered("<", second, worse), second, worse), state[g][1])
            less = b.fcmp_ordered("<", score, best)
            b.store(b.select(less, label, labels), state[g][2])
            b.store(b.select(less, score, best), state[g][0])


def _score_code(context: Any, b: Build, signature: Any, values: Any) -> Value:
    panels, blocks, const, best, second, labels, count = arguments(context, b, signature, values)
    d, n_blocks = sizes_of(b, panels)[1], sizes_of(b, blocks)[0]
    kinds, outs = (FLOATS, FLOATS, INTS), (best, second, labels)
    state = [[cgutils.alloca_once(b, kind) for kind in kinds] for _ in range(GROUPS)]
    start = [ir.Constant(FLOATS, [HUGE] * LANES)] * 2 + [ir.Constant(INTS, [0] * LANES)]
    with cgutils.for_range(b, count) as panel:
        rows = address(b, panels.data, b.mul(panel.index, b.mul(d, LONG(ROWS))))
        for parts in state:
            for part, value in zip(parts, start, strict=True):
                b.store(value, part)
        with cgutils.for_range(b, n_blocks) as block:
            centers = address(b, blocks.data, b.mul(block.index, b.mul(d, LONG(BLOCK))))
            first = b.mul(block.index, LONG(BLOCK))
            scores = _scores(b, rows, centers, address(b, const.data, first), d)
            _keep_two(b, scores, b.trunc(first, INT), state)
        for g, parts in enumerate(state):
            at = b.add(b.mul(panel.index, LONG(ROWS)), LONG(g * LANES))
            for part, out in zip(parts, outs, strict=True):
                store_vector(b, b.load(part), address(b, out.data, at))
    return context.get_dummy_value()


def _score_panels(context, panels, blocks, const, best, second, labels, count):  # type: ignore
    """Write the two best scores of each row of ``count`` panels, and the label of the best."""
    return types.void(panels, blocks, const, best, second, labels, types.intp), _score_code


def _transposed(b: Build, rows: list[Value]) -> list[Value]:
    """The columns of a square of vectors, by exchanges of ever larger parts of two vectors."""
    span = 1
    while span < LANES:
        lanes = range(LANES)
        low = [i if not i & span else LANES + (i ^ span) for i in lanes]
        high = [i ^ span if not i & span else LANES + i for i in lanes]
        masks = [ir.Constant(INTS, low), ir.Constant(INTS, high)]
        rows = [
            b.shuffle_vector(rows[i & ~span], rows[i | span], masks[bool(i & span)]) for i in lanes
        ]
        span *= 2
    return rows


def _row_offsets(b: Build, first: Value, last: Value, d: Value) -> list[Value]:
    """Where LANES rows begin; the last one stands in for those beyond it."""
    offset, offsets = b.mul(first, d), []
    for i in range(LANES):
        offsets.append(offset)
        more = b.icmp_signed("<", b.add(first, LONG(i)), last)
        offset = b.add(offset, b.select(more, d, LONG(0)))
    return offsets


def _pack_code(context: Any, b: Build, signature: Any, values: Any) -> Value:
    names = ("X", "start", "m", "staged", "moved", "shift", "scale", "panels", "norms")
    spot = SimpleNamespace(
        **dict(zip(names, arguments(context, b, signature, values), strict=True))
    )
    spot.d = sizes_of(b, spot.X)[1]
    spot.rows = spot.staged.data
    if signature.args[0].dtype == types.float32:
        spot.rows = b.select(spot.moved, spot.rows, spot.X.data)
    spot.start = b.select(spot.moved, LONG(0), spot.start)
    spot.scales = splat(b, b.select(spot.moved, FLOAT(1.0), spot.scale), FLOATS)
    last = b.sub(b.add(spot.start, spot.m), LONG(1))
    groups = b.udiv(b.add(spot.m, LONG(LANES - 1)), LONG(LANES))
    whole = b.udiv(spot.m, LONG(LANES))
    norm = cgutils.alloca_once(b, FLOATS)
    done = cgutils.alloca_once_value(b, LONG(0))
    for d in SHORT:
        with b.if_then(b.icmp_signed("==", spot.d, LONG(d))):
            with cgutils.for_range(b, whole) as group:
                _pack_short(b, spot, group.index, d)
            b.store(whole, done)
    with cgutils.for_range(b, groups, start=b.load(done)) as group:
        first = b.add(spot.start, b.mul(group.index, LONG(LANES)))
        offsets = _row_offsets(b, first, last, spot.d)
        b.store(ZEROS, norm)
        with cgutils.for_range_slice(b, LONG(0), spot.d, LONG(LANES)) as (f, _):
            _pack_square(
                b, spot, [address(b, spot.rows, o, f) for o in offsets], group.index, f, norm
            )
        store_vector(b, b.load(norm), address(b, spot.norms.data, b.mul(group.index, LONG(LANES))))
    return context.get_dummy_value()


def _target(b: Build, spot: Any, group: Value, f: Value) -> Value:
    """Where feature f of a group of LANES rows belongs."""
    panel, part = b.udiv(group, LONG(GROUPS)), b.urem(group, LONG(GROUPS))
    at = b.mul(b.add(b.mul(panel, spot.d), f), LONG(ROWS))
    return address(b, spot.panels.data, at, b.mul(part, LONG(LANES)))


def _pack_square(
    b: Build, spot: Any, sources: list[Value], group: Value, f: Value, norm: Value
) -> None:
    """Pack LANES features of LANES rows, and have those of the next rows read meanwhile."""
    left = b.trunc(b.sub(spot.d, f), INT)
    mask = first_lanes(b, left, LANES)
    shift = b.select(spot.moved, ZEROS, load_vector(b, address(b, spot.shift.data, f)))
    ahead = b.mul(spot.d, LONG(LANES))
    ahead = b.select(b.icmp_signed("<", ahead, LONG(AHEAD)), LONG(AHEAD), ahead)
    for source in sources:
        prefetch(b, address(b, source, ahead))
    rows = [masked_load(b, source, FLOATS, mask, 4) for source in sources]
    columns = _transposed(b, [b.fmul(b.fsub(x, shift), spot.scales) for x in rows])
    target, total = _target(b, spot, group, f), ZEROS
    for c, column in enumerate(columns):
        with b.if_then(b.icmp_signed(">", left, INT(c)), likely=True):
            store_vector(b, column, address(b, target, c * ROWS))
        total = multiply_add(b, column, column, total)
    b.store(b.fadd(b.load(norm), total), norm)


def _pack_short(b: Build, spot: Any, group: Value, d: int) -> None:
    """Pack LANES rows of d features, which are d whole vectors."""
    first = b.add(spot.start, b.mul(group, LONG(LANES)))
    source = address(b, spot.rows, b.mul(first, LONG(d)))
    for v in range(d):
        prefetch(b, address(b, source, AHEAD + LANES * v))
    vectors = [load_vector(b, address(b, source, LANES * v)) for v in range(d)]
    target, total = _target(b, spot, group, LONG(0)), ZEROS
    for f in range(d):
        shift = b.select(spot.moved, FLOAT(0.0), b.load(address(b, spot.shift.data, f)))
        column = b.fsub(_every(b, vectors, f), splat(b, shift, FLOATS))
        column = b.fmul(column, spot.scales)
        store_vector(b, column, address(b, target, f * ROWS))
        total = multiply_add(b, column, column, total)
    store_vector(b, total, address(b, spot.norms.data, b.mul(group, LONG(LANES))))


def _every(b: Build, vectors: list[Value], first: int) -> Value:
    """Every so many numbers of a run of as many vectors, from the ``first`` on."""
    count, column = len(vectors), vectors[0]
    for v in range(1, count):
        sources = [first + count * lane - LANES * v for lane in range(LANES)]
        taken = [LANES + at if 0 <= at < LANES else lane for lane, at in enumerate(sources)]
        if v == 1:
            known = [first + count * lane for lane in range(LANES)]
            taken = [t if t >= LANES else at % LANES for t, at in zip(taken, known, strict=True)]
        column = b.shuffle_vector(column, vectors[v], ir.Constant(INTS, taken))
    return column


def _pack_rows(context, X, start, m, staged, moved, shift, scale, panels, norms):  # type: ignore
    """Write rows start .. start+m of X (n, d) float32, moved and scaled, to panels and norms.

    Where they are ``moved``, they are the first m rows of ``staged`` (m, d) float32 as they are.
    """
    numbers = (X, types.intp, types.intp, staged, types.boolean, shift, types.float32)
    return types.void(*numbers, panels, norms), _pack_code


def _is_single(context, X):  # type: ignore
    """Whether X holds float32, which is known when this is compiled."""
    single = X.dtype == types.float32
    return types.boolean(X), lambda context, b, signature, values: ir.IntType(1)(single)


def _in_doubt_code(context: Any, b: Build, signature: Any, values: Any) -> Value:
    group, groups, norms, best, second, share, slack = arguments(context, b, signature, values)
    share, slack = splat(b, share, FLOATS), splat(b, slack, FLOATS)
    found = cgutils.alloca_once_value(b, groups)
    with cgutils.for_range(b, groups, start=group) as loop:
        at = b.mul(loop.index, LONG(LANES))
        norm, least, next_ = (load_vector(b, address(b, a.data, at)) for a in (norms, best, second))
        error = multiply_add(b, share, norm, slack)
        wide = b.fcmp_ordered(">", b.fsub(next_, least), error)
        regular = b.fcmp_ordered("<", norm, splat(b, FLOAT(HUGE), FLOATS))
        clear = b.bitcast(b.and_(wide, regular), ir.IntType(LANES))
        with b.if_then(b.icmp_unsigned("!=", clear, ir.IntType(LANES)(-1)), likely=False):
            b.store(loop.index, found)
            loop.do_break()
    return b.load(found)


def _in_doubt(context, group, groups, norms, best, second, share, slack):  # type: ignore
    """The next group of LANES rows, from ``group`` on, whose two best scores may be too close.

    Or whose norms are not regular numbers; ``groups`` if there is none.
    """
    floats = (types.float32, types.float32)
    return types.intp(types.intp, types.intp, norms, best, second, *floats), _in_doubt_code


score_panels = intrinsic(_score_panels)
pack_rows = intrinsic(_pack_rows)
is_single = intrinsic(_is_single)
in_doubt = intrinsic(_in_doubt)
