"""How each standard operator of ONNX becomes operations of MIL."""
