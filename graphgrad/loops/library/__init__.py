"""Functions written in the loop language by hand, which kernels call; and their Python callers."""
