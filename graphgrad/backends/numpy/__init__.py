"""The NumPy backend: NumPy and BLAS, with fused kernels that LLVM compiles for this processor.

program_text, loop_text, periodic: a plan as a Python program, and its fused regions as kernels in
the loop language
call_table: compiles the kernels and holds the addresses of their arguments
backend: overrides of single operations, and `lower`
"""

from graphgrad.backends.numpy.backend import COMPILES, lower

__all__ = ["COMPILES", "lower"]
