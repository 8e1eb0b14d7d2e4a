"""The loop language: a small typed part of Python that LLVM makes machine code of. Knows no graph.

language: its words, as Python knows it; what is written in it imports its words from here
translate, expressions, instructions: from its text to LLVM's
machine_code, export, kernel_cache: code kept on disk; functions that Python calls; printed kernels
threads: calls by address on threads of our own
library: what is written in the language by hand; `*_compiled`: what calls it with arrays
"""
