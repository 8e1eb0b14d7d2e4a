"""The backend for CUDA devices: renders loop nests as CUDA C and lowers a plan to launches.

expressions, geometry, statement_text, nest_text: a loop nest as a kernel in CUDA C
kernel_files, kernels, device.cuh: kernels that are not nests, and the functions that all call
launches, lowering, rules, merge_launches, backend: from a plan to launches in order
nvrtc, module: compiles kernels without a device and keeps them on disk

products, capture, device, binding, state, shared_memory, program: a program with memory on a device
epilogues, product_patterns, product_groups: what a product does in the same launch
product_batches: products that are one launch
libraries, cublas, cublaslt, product_libraries, cupy_device: the device by CuPy, its products

The tests run kernels, and by the same binder whole trainings, on a processor (tests/gpu/cuda_cpu.h,
tests/cpu_backend.py); cublas.py, cublaslt.py and cupy_device.py have not run on a device yet.
"""
