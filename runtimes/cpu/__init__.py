"""The C++ kernel library for ONNX Runtime's CPU provider."""
