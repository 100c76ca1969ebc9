"""LLVM's own terms for vectors, in which the functions of ``vector_kernels.py`` are written."""

from __future__ import annotations

from typing import Any

from llvmlite import binding, ir  # type: ignore[import-untyped]
from numba.core import cgutils as _cgutils
from numba.core import config as _config
from numba.core import types

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
EIGHT = 8  # numbers of 64 bits added to sums at once

FLOAT, DOUBLE, INT, LONG = ir.FloatType(), ir.DoubleType(), ir.IntType(32), ir.IntType(64)
DOUBLES, LONGS = ir.VectorType(DOUBLE, EIGHT), ir.VectorType(LONG, EIGHT)
FLOATS, INTS = ir.VectorType(FLOAT, LANES), ir.VectorType(INT, LANES)
ZEROS = ir.Constant(FLOATS, [0.0] * LANES)


def splat(b: Build, value: Value, vector: Value) -> Value:
    """A vector of one value."""
    undefined = ir.Constant(vector, ir.Undefined)
    first = b.insert_element(undefined, value, INT(0))
    zeros = ir.Constant(ir.VectorType(INT, vector.count), [0] * vector.count)
    return b.shuffle_vector(first, undefined, zeros)


def load_vector(b: Build, pointer: Value, vector: Value = FLOATS) -> Value:
    """The vector that begins where an element is."""
    return b.load(b.bitcast(pointer, vector.as_pointer()), align=4)


def store_vector(b: Build, value: Value, pointer: Value) -> None:
    """Write a vector to where its first element belongs."""
    b.store(value, b.bitcast(pointer, value.type.as_pointer()), align=4)


def multiply_add(b: Build, x: Value, y: Value, z: Value) -> Value:
    """``x * y + z`` of floats, rounded once where the processor can."""
    kind = ir.FunctionType(FLOATS, [FLOATS] * 3)
    name = f"llvm.fmuladd.v{LANES}f32"
    return b.call(cgutils.get_or_insert_function(b.module, kind, name), [x, y, z])


def arguments(context: Any, b: Build, signature: Any, values: Any) -> list[Any]:
    """The arguments, of arrays what gives their data and shape."""
    return [
        context.make_array(kind)(context, b, value) if isinstance(kind, types.Array) else value
        for kind, value in zip(signature.args, values, strict=True)
    ]


def sizes_of(b: Build, array: Any) -> list[Value]:
    """The shape of an array."""
    return list(cgutils.unpack_tuple(b, array.shape))


def address(b: Build, pointer: Value, *offsets: Value) -> Value:
    """The element so many further on."""
    for offset in offsets:
        pointer = b.gep(pointer, [offset if isinstance(offset, ir.Value) else LONG(offset)])
    return pointer


def first_lanes(b: Build, count: Value, lanes: int) -> Value:
    """A mask of the first ``count`` lanes."""
    vector = ir.VectorType(INT, lanes)
    return b.icmp_signed("<", ir.Constant(vector, list(range(lanes))), splat(b, count, vector))


def masked_load(b: Build, pointer: Value, vector: Value, mask: Value, align: int) -> Value:
    """The values in the lanes of the mask; zeros in the others, which are not read."""
    element = vector.element
    name = {FLOAT: "f32", DOUBLE: "f64"}.get(element) or f"i{element.width}"
    kind = ir.FunctionType(vector, [vector.as_pointer(), INT, mask.type, vector])
    name = f"llvm.masked.load.v{vector.count}{name}.p0"
    load = cgutils.get_or_insert_function(b.module, kind, name)
    zeros = ir.Constant(vector, [0] * vector.count)
    return b.call(load, [b.bitcast(pointer, vector.as_pointer()), INT(align), mask, zeros])


def prefetch(b: Build, pointer: Value) -> None:
    """Have what is there read, if there is anything."""
    byte = ir.IntType(8).as_pointer()
    kind = ir.FunctionType(ir.VoidType(), [byte, INT, INT, INT])
    call = cgutils.get_or_insert_function(b.module, kind, "llvm.prefetch.p0")
    b.call(call, [b.bitcast(pointer, byte), INT(0), INT(3), INT(1)])
