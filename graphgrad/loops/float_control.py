"""Reads and sets how a thread computes floats: whether subnormal numbers are flushed to zero.

A float32 below 1.2e-38 (a float64 below 2.2e-308) is subnormal: it has fewer digits, and several
processors handle each operation on it by microcode, in a hundred cycles and more. Kernels therefore
run with such operands read as zero and such results written as zero (library/threads.py sets the
control word on every thread before a kernel and puts it back behind it). The control word is MXCSR
on x86 and FPCR on ARM; elsewhere there is none, and nothing is flushed.
"""

from __future__ import annotations

import platform

from graphgrad.loops.llvm_text import Builder, Scalar

_X86 = ("x86_64", "amd64", "i386", "i686")
_ARM = ("aarch64", "arm64")
_MACHINE = platform.machine().lower()

FLUSH = 0x8040 if _MACHINE in _X86 else 1 << 24 if _MACHINE in _ARM else 0
"""The bits of the control word that flush: FTZ and DAZ of MXCSR, or FZ of FPCR."""


def float_control(builder: Builder) -> Scalar:
    """The control word of the thread that runs; 0 where there is none."""
    if _MACHINE in _X86:
        builder.declare("declare void @llvm.x86.sse.stmxcsr(ptr)")
        place = builder.alloca("int32")
        builder.add(f"call void @llvm.x86.sse.stmxcsr(ptr {place})")
        word = builder.assign(f"load i32, ptr {place}")
        return Scalar("int64", builder.assign(f"zext i32 {word} to i64"))
    if _MACHINE in _ARM:
        builder.declare("declare i64 @llvm.aarch64.get.fpcr()")
        return Scalar("int64", builder.assign("call i64 @llvm.aarch64.get.fpcr()"))
    return Scalar("int64", "0")


def set_float_control(builder: Builder, word: Scalar) -> None:
    """Sets the control word of the thread that runs."""
    if _MACHINE in _X86:
        builder.declare("declare void @llvm.x86.sse.ldmxcsr(ptr)")
        place = builder.alloca("int32")
        short = builder.assign(f"trunc i64 {word.text} to i32")
        builder.add(f"store i32 {short}, ptr {place}")
        builder.add(f"call void @llvm.x86.sse.ldmxcsr(ptr {place})")
    elif _MACHINE in _ARM:
        builder.declare("declare void @llvm.aarch64.set.fpcr(i64)")
        builder.add(f"call void @llvm.aarch64.set.fpcr(i64 {word.text})")
