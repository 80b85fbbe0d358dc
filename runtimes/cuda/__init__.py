"""CUDA kernels of the fused operators, their launches, and how they are built and tried."""
