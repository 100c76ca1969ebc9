"""Functions written for the vector registers of the processor at hand, for ``kernels.py``.

A compiler left alone keeps neither the accumulators of a product in registers nor a transposition
out of memory. Both are therefore written down in LLVM's own terms, as vectors of ``LANES`` rows.
Rows are held in panels of ``ROWS``, feature by feature, so that a panel (d, ROWS) is a run of
vectors; centers in blocks of ``BLOCK``, likewise (d, BLOCK).
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from llvmlite import binding, ir  # type: ignore[import-untyped]
from numba.core import cgutils as _cgutils
from numba.core import config as _config
from numba.core import types
from numba.extending import intrinsic

cgutils: Any = _cgutils
config: Any = _config
Build = Any  # an ir.IRBuilder, which has no types
Value = Any  # an ir.Value


def _wide_registers() -> bool:
    """Whether the processor compiled for has 32 registers of 512 bits."""
    named: str | None = config.CPU_FEATURES
    if named is None:
        named = binding.get_host_cpu_features().flatten()
    return "+avx512f" in named.split(",") and config.CPU_NAME in (None, "host")


LANES = 16 if _wide_registers() else 8
GROUPS = 2  # vectors of a panel
ROWS = GROUPS * LANES
BLOCK = 8 if LANES == 16 else 4  # GROUPS * BLOCK accumulators, and what goes with them, fit
CHUNK = 64  # features added up before their sum joins that of the others, which bounds rounding
SHORT = (2, 3, 4, 8)  # features of rows that are packed more directly
AHEAD = 2048  # numbers of X, at least, between those being packed and those being fetched
HUGE = 3e38
EIGHT = 8  # numbers of 64 bits added to sums at once
AT_ONCE = (8, 2)  # times these, as long as there are so many

_FLOAT, _DOUBLE, _INT, _LONG = ir.FloatType(), ir.DoubleType(), ir.IntType(32), ir.IntType(64)
_DOUBLES, _LONGS = ir.VectorType(_DOUBLE, EIGHT), ir.VectorType(_LONG, EIGHT)
_FLOATS, _INTS = ir.VectorType(_FLOAT, LANES), ir.VectorType(_INT, LANES)
_ZEROS = ir.Constant(_FLOATS, [0.0] * LANES)


def _splat(b: Build, value: Value, vector: Value) -> Value:
    """A vector of one value."""
    undefined = ir.Constant(vector, ir.Undefined)
    first = b.insert_element(undefined, value, _INT(0))
    zeros = ir.Constant(ir.VectorType(_INT, vector.count), [0] * vector.count)
    return b.shuffle_vector(first, undefined, zeros)


def _load(b: Build, pointer: Value, vector: Value = _FLOATS) -> Value:
    return b.load(b.bitcast(pointer, vector.as_pointer()), align=4)


def _store(b: Build, value: Value, pointer: Value) -> None:
    b.store(value, b.bitcast(pointer, value.type.as_pointer()), align=4)


def _multiply_add(b: Build, x: Value, y: Value, z: Value) -> Value:
    kind = ir.FunctionType(_FLOATS, [_FLOATS] * 3)
    name = f"llvm.fmuladd.v{LANES}f32"
    return b.call(cgutils.get_or_insert_function(b.module, kind, name), [x, y, z])


def _arrays(context: Any, b: Build, signature: Any, values: Any) -> list[Any]:
    """The arguments, of arrays what gives their data and shape."""
    return [
        context.make_array(kind)(context, b, value) if isinstance(kind, types.Array) else value
        for kind, value in zip(signature.args, values, strict=True)
    ]


def _sizes(b: Build, array: Any) -> list[Value]:
    return list(cgutils.unpack_tuple(b, array.shape))


def _at(b: Build, pointer: Value, *offsets: Value) -> Value:
    for offset in offsets:
        pointer = b.gep(pointer, [offset if isinstance(offset, ir.Value) else _LONG(offset)])
    return pointer


def _products(b: Build, rows: Value, centers: Value, count: Value, sums: list[Value]) -> None:
    """Add to sums[c * GROUPS + g] the products of ``count`` features of a panel and of a block."""
    with cgutils.for_range(b, count) as loop:
        row = _at(b, rows, b.mul(loop.index, _LONG(ROWS)))
        center = _at(b, centers, b.mul(loop.index, _LONG(BLOCK)))
        x = [_load(b, _at(b, row, g * LANES)) for g in range(GROUPS)]
        for c in range(BLOCK):
            value = _splat(b, b.load(_at(b, center, c)), _FLOATS)
            for g in range(GROUPS):
                sum_ = sums[c * GROUPS + g]
                b.store(_multiply_add(b, x[g], value, b.load(sum_)), sum_)


def _scores(b: Build, rows: Value, centers: Value, const: Value, d: Value) -> list[Value]:
    """Scores of a panel for a block, a chunk of features at a time; see ``CHUNK``."""
    totals = [cgutils.alloca_once(b, _FLOATS) for _ in range(BLOCK * GROUPS)]
    sums = [cgutils.alloca_once(b, _FLOATS) for _ in range(BLOCK * GROUPS)]
    for at, total in enumerate(totals):
        b.store(_splat(b, b.load(_at(b, const, at // GROUPS)), _FLOATS), total)
    chunk = _LONG(CHUNK)
    begin = b.select(b.icmp_signed("<", d, chunk), d, chunk)
    _products(b, rows, centers, begin, totals)
    with cgutils.for_range_slice(b, begin, d, chunk) as (first, _):
        left = b.sub(d, first)
        count = b.select(b.icmp_signed("<", left, chunk), left, chunk)
        for sum_ in sums:
            b.store(_ZEROS, sum_)
        row = _at(b, rows, b.mul(first, _LONG(ROWS)))
        _products(b, row, _at(b, centers, b.mul(first, _LONG(BLOCK))), count, sums)
        for total, sum_ in zip(totals, sums, strict=True):
            b.store(b.fadd(b.load(sum_), b.load(total)), total)
    return [b.load(total) for total in totals]


def _keep_two(b: Build, scores: list[Value], first: Value, state: list[list[Value]]) -> None:
    """Merge the scores of a block, its lowest index ``first``, into the two best of each row."""
    for c in range(BLOCK):
        label = _splat(b, b.add(first, _INT(c)), _INTS)
        for g in range(GROUPS):
            score = scores[c * GROUPS + g]
            best, second, labels = (b.load(part) for part in state[g])
            worse = b.select(b.fcmp_ordered(">", best, score), best, score)
            b.store(b.select(b.fcmp_ordered("<", second, worse), second, worse), state[g][1])
            less = b.fcmp_ordered("<", score, best)
            b.store(b.select(less, label, labels), state[g][2])
            b.store(b.select(less, score, best), state[g][0])


def _score_code(context: Any, b: Build, signature: Any, values: Any) -> Value:
    panels, blocks, const, best, second, labels, count = _arrays(context, b, signature, values)
    d, n_blocks = _sizes(b, panels)[1], _sizes(b, blocks)[0]
    kinds, outs = (_FLOATS, _FLOATS, _INTS), (best, second, labels)
    state = [[cgutils.alloca_once(b, kind) for kind in kinds] for _ in range(GROUPS)]
    start = [ir.Constant(_FLOATS, [HUGE] * LANES)] * 2 + [ir.Constant(_INTS, [0] * LANES)]
    with cgutils.for_range(b, count) as panel:
        rows = _at(b, panels.data, b.mul(panel.index, b.mul(d, _LONG(ROWS))))
        for parts in state:
            for part, value in zip(parts, start, strict=True):
                b.store(value, part)
        with cgutils.for_range(b, n_blocks) as block:
            centers = _at(b, blocks.data, b.mul(block.index, b.mul(d, _LONG(BLOCK))))
            first = b.mul(block.index, _LONG(BLOCK))
            scores = _scores(b, rows, centers, _at(b, const.data, first), d)
            _keep_two(b, scores, b.trunc(first, _INT), state)
        for g, parts in enumerate(state):
            at = b.add(b.mul(panel.index, _LONG(ROWS)), _LONG(g * LANES))
            for part, out in zip(parts, outs, strict=True):
                _store(b, b.load(part), _at(b, out.data, at))
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
        masks = [ir.Constant(_INTS, low), ir.Constant(_INTS, high)]
        rows = [
            b.shuffle_vector(rows[i & ~span], rows[i | span], masks[bool(i & span)]) for i in lanes
        ]
        span *= 2
    return rows


def _first_lanes(b: Build, count: Value, lanes: int) -> Value:
    """A mask of the first ``count`` lanes."""
    vector = ir.VectorType(_INT, lanes)
    return b.icmp_signed("<", ir.Constant(vector, list(range(lanes))), _splat(b, count, vector))


def _masked_load(b: Build, pointer: Value, vector: Value, mask: Value, align: int) -> Value:
    """The values in the lanes of the mask; zeros in the others, which are not read."""
    element = vector.element
    name = {_FLOAT: "f32", _DOUBLE: "f64"}.get(element) or f"i{element.width}"
    kind = ir.FunctionType(vector, [vector.as_pointer(), _INT, mask.type, vector])
    name = f"llvm.masked.load.v{vector.count}{name}.p0"
    load = cgutils.get_or_insert_function(b.module, kind, name)
    zeros = ir.Constant(vector, [0] * vector.count)
    return b.call(load, [b.bitcast(pointer, vector.as_pointer()), _INT(align), mask, zeros])


def _prefetch(b: Build, pointer: Value) -> None:
    """Have what is there read, if there is anything."""
    byte = ir.IntType(8).as_pointer()
    kind = ir.FunctionType(ir.VoidType(), [byte, _INT, _INT, _INT])
    call = cgutils.get_or_insert_function(b.module, kind, "llvm.prefetch.p0")
    b.call(call, [b.bitcast(pointer, byte), _INT(0), _INT(3), _INT(1)])


def _row_offsets(b: Build, first: Value, last: Value, d: Value) -> list[Value]:
    """Where LANES rows begin; the last one stands in for those beyond it."""
    offset, offsets = b.mul(first, d), []
    for i in range(LANES):
        offsets.append(offset)
        more = b.icmp_signed("<", b.add(first, _LONG(i)), last)
        offset = b.add(offset, b.select(more, d, _LONG(0)))
    return offsets


def _pack_code(context: Any, b: Build, signature: Any, values: Any) -> Value:
    names = ("X", "start", "m", "staged", "moved", "shift", "scale", "panels", "norms")
    spot = SimpleNamespace(**dict(zip(names, _arrays(context, b, signature, values), strict=True)))
    spot.d = _sizes(b, spot.X)[1]
    spot.rows = spot.staged.data
    if signature.args[0].dtype == types.float32:
        spot.rows = b.select(spot.moved, spot.rows, spot.X.data)
    spot.start = b.select(spot.moved, _LONG(0), spot.start)
    spot.scales = _splat(b, b.select(spot.moved, _FLOAT(1.0), spot.scale), _FLOATS)
    last = b.sub(b.add(spot.start, spot.m), _LONG(1))
    groups = b.udiv(b.add(spot.m, _LONG(LANES - 1)), _LONG(LANES))
    whole = b.udiv(spot.m, _LONG(LANES))
    norm = cgutils.alloca_once(b, _FLOATS)
    done = cgutils.alloca_once_value(b, _LONG(0))
    for d in SHORT:
        with b.if_then(b.icmp_signed("==", spot.d, _LONG(d))):
            with cgutils.for_range(b, whole) as group:
                _pack_short(b, spot, group.index, d)
            b.store(whole, done)
    with cgutils.for_range(b, groups, start=b.load(done)) as group:
        first = b.add(spot.start, b.mul(group.index, _LONG(LANES)))
        offsets = _row_offsets(b, first, last, spot.d)
        b.store(_ZEROS, norm)
        with cgutils.for_range_slice(b, _LONG(0), spot.d, _LONG(LANES)) as (f, _):
            _pack_square(b, spot, [_at(b, spot.rows, o, f) for o in offsets], group.index, f, norm)
        _store(b, b.load(norm), _at(b, spot.norms.data, b.mul(group.index, _LONG(LANES))))
    return context.get_dummy_value()


def _target(b: Build, spot: Any, group: Value, f: Value) -> Value:
    """Where feature f of a group of LANES rows belongs."""
    panel, part = b.udiv(group, _LONG(GROUPS)), b.urem(group, _LONG(GROUPS))
    at = b.mul(b.add(b.mul(panel, spot.d), f), _LONG(ROWS))
    return _at(b, spot.panels.data, at, b.mul(part, _LONG(LANES)))


def _pack_square(
    b: Build, spot: Any, sources: list[Value], group: Value, f: Value, norm: Value
) -> None:
    """Pack LANES features of LANES rows, and have those of the next rows read meanwhile."""
    left = b.trunc(b.sub(spot.d, f), _INT)
    mask = _first_lanes(b, left, LANES)
    shift = b.select(spot.moved, _ZEROS, _load(b, _at(b, spot.shift.data, f)))
    ahead = b.mul(spot.d, _LONG(LANES))
    ahead = b.select(b.icmp_signed("<", ahead, _LONG(AHEAD)), _LONG(AHEAD), ahead)
    for source in sources:
        _prefetch(b, _at(b, source, ahead))
    rows = [_masked_load(b, source, _FLOATS, mask, 4) for source in sources]
    columns = _transposed(b, [b.fmul(b.fsub(x, shift), spot.scales) for x in rows])
    target, total = _target(b, spot, group, f), _ZEROS
    for c, column in enumerate(columns):
        with b.if_then(b.icmp_signed(">", left, _INT(c)), likely=True):
            _store(b, column, _at(b, target, c * ROWS))
        total = _multiply_add(b, column, column, total)
    b.store(b.fadd(b.load(norm), total), norm)


def _pack_short(b: Build, spot: Any, group: Value, d: int) -> None:
    """Pack LANES rows of d features, which are d whole vectors."""
    first = b.add(spot.start, b.mul(group, _LONG(LANES)))
    source = _at(b, spot.rows, b.mul(first, _LONG(d)))
    for v in range(d):
        _prefetch(b, _at(b, source, AHEAD + LANES * v))
    vectors = [_load(b, _at(b, source, LANES * v)) for v in range(d)]
    target, total = _target(b, spot, group, _LONG(0)), _ZEROS
    for f in range(d):
        shift = b.select(spot.moved, _FLOAT(0.0), b.load(_at(b, spot.shift.data, f)))
        column = b.fsub(_every(b, vectors, f), _splat(b, shift, _FLOATS))
        column = b.fmul(column, spot.scales)
        _store(b, column, _at(b, target, f * ROWS))
        total = _multiply_add(b, column, column, total)
    _store(b, total, _at(b, spot.norms.data, b.mul(group, _LONG(LANES))))


def _every(b: Build, vectors: list[Value], first: int) -> Value:
    """Every so many numbers of a run of as many vectors, from the ``first`` on."""
    count, column = len(vectors), vectors[0]
    for v in range(1, count):
        sources = [first + count * lane - LANES * v for lane in range(LANES)]
        taken = [LANES + at if 0 <= at < LANES else lane for lane, at in enumerate(sources)]
        if v == 1:
            known = [first + count * lane for lane in range(LANES)]
            taken = [t if t >= LANES else at % LANES for t, at in zip(taken, known, strict=True)]
        column = b.shuffle_vector(column, vectors[v], ir.Constant(_INTS, taken))
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
    group, groups, norms, best, second, share, slack = _arrays(context, b, signature, values)
    share, slack = _splat(b, share, _FLOATS), _splat(b, slack, _FLOATS)
    found = cgutils.alloca_once_value(b, groups)
    with cgutils.for_range(b, groups, start=group) as loop:
        at = b.mul(loop.index, _LONG(LANES))
        norm, least, next_ = (_load(b, _at(b, a.data, at)) for a in (norms, best, second))
        error = _multiply_add(b, share, norm, slack)
        wide = b.fcmp_ordered(">", b.fsub(next_, least), error)
        regular = b.fcmp_ordered("<", norm, _splat(b, _FLOAT(HUGE), _FLOATS))
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


def _to_doubles(b: Build, x: Value, kind: Any) -> Value:
    """Numbers of the data's own type as float64."""
    if kind == types.float64:
        return x
    if isinstance(kind, types.Float):
        return b.fpext(x, _DOUBLES)
    return b.sitofp(x, _DOUBLES) if kind.signed else b.uitofp(x, _DOUBLES)


def _numbers(b: Build, pointer: Value, kind: Any, mask: Value | None) -> Value:
    """Eight numbers of the data's own type as float64."""
    vector = ir.VectorType(pointer.type.pointee, EIGHT)
    align = kind.bitwidth // 8
    if mask is None:
        x = b.load(b.bitcast(pointer, vector.as_pointer()), align=align)
    else:
        x = _masked_load(b, pointer, vector, mask, align)
    return _to_doubles(b, x, kind)


def _add_block(b: Build, spot: Any, f: Value, count: int, mask: Value | None) -> None:
    """Add ``count`` times 8 features from ``f`` on of each row of a tile to its cluster's sums."""
    d = _sizes(b, spot.X)[1]
    stride = _sizes(b, spot.table)[1]
    bases = [_load(b, _at(b, spot.base.data, f, EIGHT * c), _DOUBLES) for c in range(count)]
    with cgutils.for_range(b, spot.m) as row:
        label = b.load(_at(b, spot.labels.data, row.index))
        with b.if_then(b.icmp_signed(">=", label, _INT(0)), likely=True):
            copy = b.mul(b.and_(row.index, spot.copies), spot.k)
            at = b.mul(b.add(b.zext(label, _LONG), copy), stride)
            target = _at(b, spot.table.data, at, f)
            source = _at(b, spot.X.data, b.mul(b.add(spot.start, row.index), d), f)
            for c, base in enumerate(bases):
                x = _numbers(b, _at(b, source, EIGHT * c), spot.kind, mask)
                bits = b.bitcast(b.fadd(x, base), _LONGS)  # of the number rounded to its grid
                place = _at(b, target, EIGHT * c)
                _store(b, b.add(_load(b, place, _LONGS), bits), place)


def _add_rows_code(context: Any, b: Build, signature: Any, values: Any) -> Value:
    X, start, m, labels, base, table, k, copies = _arrays(context, b, signature, values)
    kind = signature.args[0].dtype
    spot = SimpleNamespace(X=X, start=start, m=m, labels=labels, base=base, table=table, k=k)
    spot.copies, spot.kind = b.sub(copies, _LONG(1)), kind
    d, begin = _sizes(b, X)[1], _LONG(0)
    for count in AT_ONCE:
        step = _LONG(EIGHT * count)
        end = b.mul(b.udiv(d, step), step)
        with cgutils.for_range_slice(b, begin, end, step) as (f, _):
            _add_block(b, spot, f, count, None)
        begin = end
    with cgutils.for_range_slice(b, begin, d, _LONG(EIGHT)) as (f, _):
        _add_block(b, spot, f, 1, _first_lanes(b, b.trunc(b.sub(d, f), _INT), EIGHT))
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
    parts = [b.extract_element(vector, _INT(i)) for i in range(EIGHT)]
    while len(parts) > 1:
        half = len(parts) // 2
        parts = [b.fadd(parts[i], parts[half + i]) for i in range(half)]
    return parts[0]


def _row_distances_code(context: Any, b: Build, signature: Any, values: Any) -> Value:
    X, i, centers, out = _arrays(context, b, signature, values)
    kind, single = signature.args[0].dtype, signature.args[3].dtype == types.float32
    k, d = _sizes(b, centers)
    row, target = _at(b, X.data, b.mul(i, d)), _at(b, out.data, b.mul(i, k))
    whole = b.mul(b.udiv(d, _LONG(EIGHT)), _LONG(EIGHT))
    root = cgutils.get_or_insert_function(
        b.module, ir.FunctionType(_DOUBLE, [_DOUBLE]), "llvm.sqrt.f64"
    )
    sums = [cgutils.alloca_once(b, _DOUBLES) for _ in range(4)]
    with cgutils.for_range_slice(b, _LONG(0), k, _LONG(len(sums))) as (first, _):
        labels = [b.add(first, _LONG(c)) for c in range(len(sums))]  # the last again, if need be
        labels = [b.select(b.icmp_signed("<", j, k), j, b.sub(k, _LONG(1))) for j in labels]
        for sum_ in sums:
            b.store(ir.Constant(_DOUBLES, [0.0] * EIGHT), sum_)
        for begin, end in ((_LONG(0), whole), (whole, d)):
            with cgutils.for_range_slice(b, begin, end, _LONG(EIGHT)) as (f, _):
                mask = _first_lanes(b, b.trunc(b.sub(d, f), _INT), EIGHT) if end is d else None
                places = [_at(b, centers.data, b.mul(j, d), f) for j in labels]
                _add_squares(b, _numbers(b, _at(b, row, f), kind, mask), places, sums, mask)
        for j, sum_ in zip(labels, sums, strict=True):
            distance = b.call(root, [_folded(b, b.load(sum_))])
            b.store(b.fptrunc(distance, _FLOAT) if single else distance, _at(b, target, j))
    return context.get_dummy_value()


def _row_distances(context, X, i, centers, out):  # type: ignore
    """Write to row i of ``out`` (n, k) the distances of row i of X to centers (k, d) float64.

    The direct formula in float64, added up in an order that is the same on every processor.
    """
    return types.void(X, types.intp, centers, out), _row_distances_code


score_panels = intrinsic(_score_panels)
pack_rows = intrinsic(_pack_rows)
is_single = intrinsic(_is_single)
add_rows = intrinsic(_add_rows)
in_doubt = intrinsic(_in_doubt)
row_distances = intrinsic(_row_distances)
