"""ONNX Runtime on x86-64 and arm64 with our kernel library."""
