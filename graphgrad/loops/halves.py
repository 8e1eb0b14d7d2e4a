"""Casts floats of 16 bits to float32 and back, in LLVM's instructions on integers.

bfloat16 and float16 are types of memory: a kernel reads one, casts it, computes in float32, casts
the result and stores it. The casts round to the nearest, to the even one of two, as NumPy's do.
They are written with integers, since LLVM would call a library for them on processors that lack
the instructions; these here vectorise on all.

float32      1 sign   8 bits of exponent, bias 127   23 of mantissa
bfloat16     1        8                   127         7
float16      1        5                    15        10
"""

from __future__ import annotations

import math
import struct

from graphgrad.loops.llvm_text import Builder, Scalar

_SIGN = 0x80000000
_INFINITY = 0x7F800000
_LARGE = 143 << 23
"""2¹⁶ as the bits of a float32: from here on a float16 is infinite."""
_SMALL = 113 << 23
"""2⁻¹⁴: below it a float16 has no leading 1."""
_HALF = 126 << 23
"""½, whose last digit has the weight of the last one of those small float16s."""


class _Words:
    """Instructions on 32-bit integers, each by its name."""

    def __init__(self, builder: Builder) -> None:
        self.builder = builder

    def of(self, instruction: str, a: str, b: str | int, kind: str = "i32") -> str:
        return self.builder.assign(f"{instruction} {kind} {a}, {b}")

    def select(self, condition: str, a: str | int, b: str | int) -> str:
        return self.builder.assign(f"select i1 {condition}, i32 {a}, i32 {b}")

    def of_float(self, a: str) -> str:
        return self.builder.assign(f"bitcast float {a} to i32")

    def as_float(self, a: str) -> str:
        return self.builder.assign(f"bitcast i32 {a} to float")

    def short(self, a: str) -> str:
        return self.builder.assign(f"trunc i32 {a} to i16")


def widened(builder: Builder, a: Scalar) -> Scalar:
    """The number as float32, exactly."""
    words = _Words(builder)
    bits = builder.assign(f"zext i16 {a.text} to i32")
    if a.type == "bfloat16":
        return Scalar("float32", words.as_float(words.of("shl", bits, 16)))
    sign = words.of("shl", words.of("and", bits, 0x8000), 16)
    shifted = words.of("shl", words.of("and", bits, 0x7FFF), 13)
    exponent = words.of("and", shifted, 0x1F << 23)
    usual = words.of("add", shifted, (127 - 15) << 23)
    infinite = words.of("icmp eq", exponent, 0x1F << 23)
    large = words.of("add", usual, (128 - 16) << 23)
    # a number without a leading 1: with one, less the weight of that one
    with_one = words.as_float(words.of("add", usual, 1 << 23))
    one = words.as_float(str(_SMALL))
    small = words.of_float(words.of("fsub", with_one, one, "float"))
    chosen = words.select(infinite, large, usual)
    chosen = words.select(words.of("icmp eq", exponent, 0), small, chosen)
    return Scalar("float32", words.as_float(words.of("or", chosen, sign)))


def narrowed(builder: Builder, a: Scalar, type_: str) -> Scalar:
    """The float32 rounded to the type."""
    return Scalar(type_, (_to_bfloat16 if type_ == "bfloat16" else _to_float16)(builder, a.text))


def _to_bfloat16(builder: Builder, a: str) -> str:
    words = _Words(builder)
    bits = words.of_float(a)
    upper = words.of("lshr", bits, 16)
    odd = words.of("and", upper, 1)
    rounded = words.of("lshr", words.of("add", words.of("add", bits, odd), 0x7FFF), 16)
    nan = words.of("or", words.of("and", upper, 0x8000), 0x7FC0)
    return words.short(words.select(words.of("fcmp uno", a, a, "float"), nan, rounded))


def _to_float16(builder: Builder, a: str) -> str:
    words = _Words(builder)
    bits = words.of_float(a)
    sign = words.of("and", bits, _SIGN)
    size = words.of("xor", bits, sign)
    odd = words.of("and", words.of("lshr", size, 13), 1)
    moved = words.of("sub", words.of("add", size, odd), ((127 - 15) << 23) - 0xFFF)
    usual = words.of("lshr", moved, 13)
    # ½ + a rounds a to a multiple of the weight of its last digit
    half = words.as_float(str(_HALF))
    added = words.of("fadd", words.as_float(size), half, "float")
    small = words.of("sub", words.of_float(added), _HALF)
    beyond = words.select(words.of("icmp ugt", size, _INFINITY), 0x7E00, 0x7C00)
    chosen = words.select(words.of("icmp ult", size, _SMALL), small, usual)
    chosen = words.select(words.of("icmp uge", size, _LARGE), beyond, chosen)
    return words.short(words.of("or", chosen, words.of("lshr", sign, 16)))


def half_bits(value: float, type_: str) -> int:
    """The bits of a number that is written in a text."""
    if type_ == "float16":
        try:
            (bits,) = struct.unpack("<H", struct.pack("<e", value))
        except OverflowError:
            bits = 0xFC00 if value < 0 else 0x7C00
        return int(bits)
    try:
        (bits,) = struct.unpack("<I", struct.pack("<f", value))
    except OverflowError:
        bits = 0xFF800000 if value < 0 else _INFINITY
    if math.isnan(value):
        return 0x7FC0
    return int(bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
