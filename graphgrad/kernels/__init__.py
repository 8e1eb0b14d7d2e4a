"""Regions of a graph as compiled loop nests, and the compiler that they need.

region, fuse, loops, alike: which nodes a kernel takes in, and its text, printed once for each kind
language, translate, expressions, instructions: the loop language, and its translation to LLVM
machine_code, compiled, export: code kept on disk; printed kernels; functions that Python calls
library: what is written in the language by hand; `*_compiled`, native: what calls it
"""
