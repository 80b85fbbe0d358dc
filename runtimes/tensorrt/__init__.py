"""TensorRT: plugins, engine builds and what they tell, without a GPU where that is possible."""
