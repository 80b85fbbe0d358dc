"""Ways into an onnx_ir.Model: a module, an .onnx file, a .pt2 archive, a factory."""
