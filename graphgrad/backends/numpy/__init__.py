"""The NumPy backend: NumPy and BLAS, with fused kernels that LLVM compiles for this processor.

program_text, loop_text, periodic: a plan as a Python program, and its fused regions as kernels in
the loop language
product_shapes, product_groups, product_text, product_table: products of our own, joined with the
regions that read them
product_classes, product_choice: whether a product is ours or the BLAS's, by measurement
call_table: compiles the kernels and holds the addresses of their arguments
backend: overrides of single operations, and `lower`
"""

from graphgrad.backends.numpy.backend import (
    COMPILES,
    lower,
    rates_here,
    threads_of,
    with_own_products,
)
from graphgrad.backends.numpy.product_classes import Rates, read_rates

__all__ = [
    "COMPILES",
    "Rates",
    "lower",
    "rates_here",
    "read_rates",
    "threads_of",
    "with_own_products",
]
