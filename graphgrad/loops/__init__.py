"""The loop language: a small typed subset of Python, compiled by LLVM. It knows nothing of graphs.

language: the names of the language, defined in Python; its functions import them from here
translate, expressions, operations, llvm_text: translate a text of the language to LLVM IR
machine_code, compiled_functions, kernel_cache: compile and cache on disk what Python calls: single
functions and generated kernels
threads: runs compiled kernels on a thread pool
library: functions written in the language by hand, and the Python functions that call them
"""
