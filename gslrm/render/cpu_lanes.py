"""The arithmetic that forward and backward blending share, written so that LLVM turns sixteen pixels into one vector.

Fused multiply-adds are explicit and nothing is reassociated: both passes therefore evaluate bit-identical alphas and
take the same decisions.
"""

import math
from typing import no_type_check

import numpy as np
from llvmlite.ir import Constant, FunctionType, IntType, VectorType, VoidType
from numba import types
from numba.extending import intrinsic, overload

from gslrm.render.cpu_compile import helper

VECTOR = 16
LOG2_E = 1.4426950408889634
LN_2 = 0.6931471805599453
# A splat's alpha is below 1/255 far before sigma log2(e) = 30; the bound keeps 2^-q a normal float32.
EXPONENT_LIMIT = 30.0
ROUND_TO_INTEGER = np.float32(12582912.0)  # 1.5 * 2^23: adding it leaves the nearest integer in the low mantissa bits
# (2^f - 1) / f on [-0.5, 0.5], minimax in relative error (2e-9; with rounding 0.7 float32 ulp).
POWER_1, POWER_2 = np.float32(0.6931471824645996), np.float32(0.24022647738456726)
POWER_3, POWER_4 = np.float32(0.05550332367420197), np.float32(0.00961843691766262)
POWER_5, POWER_6 = np.float32(0.0013398873852565885), np.float32(0.00015353361959569156)


@intrinsic
def multiply_add(typing_context, a, b, c):
    """Return a * b + c, rounded once."""

    def emit(context, builder, signature, arguments):
        return builder.fma(*arguments)

    return a(a, a, a), emit


def _data(context, builder, signature, arguments, k):
    """The data pointer of array argument `k`."""
    return context.make_array(signature.args[k])(context, builder, arguments[k]).data


@intrinsic
def prefetch(typing_context, array, index):
    """Ask for the cache line of element `index`, counted in memory order, of a contiguous array."""

    def emit(context, builder, signature, arguments):
        byte, integer = IntType(8).as_pointer(), IntType(32)
        data = _data(context, builder, signature, arguments, 0)
        kind = FunctionType(VoidType(), [byte, integer, integer, integer])
        function = builder.module.declare_intrinsic("llvm.prefetch", [byte], kind)
        address = builder.bitcast(builder.gep(data, [arguments[1]]), byte)
        builder.call(function, [address, Constant(integer, 0), Constant(integer, 3), Constant(integer, 1)])
        return context.get_dummy_value()

    return types.void(array, index), emit


@intrinsic
def lowest_bit(typing_context, mask):
    """Index of the lowest set bit of a non-zero unsigned integer."""

    def emit(context, builder, signature, arguments):
        return builder.cttz(arguments[0], Constant(IntType(1), 1))

    return mask(mask), emit


def _fold(builder, a, b, width):
    """Add the two halves of every group of `width` lanes in `a` and `b`, keeping the order of the groups."""
    starts = range(0, 2 * VECTOR, width)
    halves = [[start + offset + i for start in starts for i in range(width // 2)] for offset in (0, width // 2)]
    index = VectorType(IntType(32), VECTOR)
    first, second = (builder.shuffle_vector(a, b, Constant(index, half)) for half in halves)
    return builder.fadd(first, second)


@intrinsic
def sum_vectors(typing_context, vectors, count, sums):
    """sums[k] = sum of vectors[16 k : 16 k + 16], for k below the literal `count` <= 16; the other sums become 0.

    Sixteen vectors fold into one by a fixed tree of additions, several times faster than one by one.
    """

    def emit(context, builder, signature, arguments):
        vector = VectorType(context.get_value_type(signature.args[0].dtype), VECTOR)
        source, target = (
            builder.bitcast(_data(context, builder, signature, arguments, k), vector.as_pointer()) for k in (0, 2)
        )
        align = signature.args[0].dtype.bitwidth // 8
        rows = [builder.load(builder.gep(source, [Constant(IntType(64), k)]), align=align) for k in range(number)]
        rows += [Constant(vector, None)] * (VECTOR - number)
        for width in (16, 8, 4, 2):
            rows = [_fold(builder, a, b, width) for a, b in zip(rows[::2], rows[1::2], strict=True)]
        builder.store(rows[0], target, align=align)
        return context.get_dummy_value()

    if not isinstance(count, types.IntegerLiteral):
        return None
    number = count.literal_value
    return types.void(vectors, count, sums), emit


def cast_like(like, value):
    """`value` in the float type of `like`; constants are float64 in numba and would widen float32 arithmetic."""
    raise NotImplementedError("only callable from compiled code")


@overload(cast_like, inline="always")
def _cast_like(like, value):
    if like == types.float32:
        return lambda like, value: np.float32(value)
    return lambda like, value: np.float64(value)


def exp2_negative(q):
    """Return 2^-q; `q` below about -100 is outside the domain."""
    raise NotImplementedError("only callable from compiled code")


@no_type_check  # a type checker's wrapper around the inner function could not be compiled
@overload(exp2_negative, jit_options={"forceinline": True})
def _exp2_negative(q):
    if q != types.float32:
        return lambda q: math.exp(-min(q, EXPONENT_LIMIT) * LN_2)

    def single_precision(q):
        q = min(q, np.float32(EXPONENT_LIMIT))
        shifted = ROUND_TO_INTEGER - q
        f = (ROUND_TO_INTEGER - shifted) - q
        power = multiply_add(POWER_6, f, POWER_5)
        power = multiply_add(power, f, POWER_4)
        power = multiply_add(power, f, POWER_3)
        power = multiply_add(power, f, POWER_2)
        power = multiply_add(power, f, POWER_1)
        power = multiply_add(power, f, np.float32(1.0))
        exponent_bits = np.float32(shifted).view(np.int32) << np.int32(23)
        return np.int32(np.float32(power).view(np.int32) + exponent_bits).view(np.float32)

    return single_precision


@helper
def exponent(dx, dy, half_xx, xy, half_yy):
    """The quadratic form 0.5 (xx dx^2 + yy dy^2) + xy dx dy."""
    return multiply_add(dx, multiply_add(half_xx, dx, xy * dy), (half_yy * dy) * dy)
