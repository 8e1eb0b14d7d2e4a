"""The engine of CUDA devices: CUDA C from loop nests, and a program as data.

expressions, geometry, nest_text: a loop nest as a kernel in CUDA C
kernel_files, kernels, device.cuh: kernels that are no nests, and what all of them call
launches, lowering, rules, engine: from a plan to launches in order
nvrtc, module: compiled without a device, and kept on disk
"""
