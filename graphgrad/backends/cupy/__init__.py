"""The engine of CUDA devices: CUDA C from loop nests, and a program as data.

expressions, geometry, statement_text, nest_text: a loop nest as a kernel in CUDA C
kernel_files, kernels, device.cuh: kernels that are no nests, and what all of them call
launches, lowering, rules, together, engine: from a plan to launches in order
nvrtc, module: compiled without a device, and kept on disk

products, capture, device, binding, state, room, program: a program with memory on a device
libraries, cublas, cupy_device: the device by CuPy, products by cuBLAS

The tests run kernels, and by the same binder whole trainings, on a processor (tests/gpu/cuda_cpu.h,
tests/cpu_backend.py); cublas.py and cupy_device.py have not run on a device yet.
"""
