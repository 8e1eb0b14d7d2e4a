"""The engine of CUDA devices: CUDA C from loop nests, and a program as data.

expressions, geometry, statement_text, nest_text: a loop nest as a kernel in CUDA C
kernel_files, kernels, device.cuh: kernels that are no nests, and what all of them call
launches, lowering, rules, together, engine: from a plan to launches in order
nvrtc, module: compiled without a device, and kept on disk

Nothing here launches anything. The tests run kernels and whole training steps on a processor
(tests/gpu/cuda_cpu.h); none of it has run on a device yet.
"""
