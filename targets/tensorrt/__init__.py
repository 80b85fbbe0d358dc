"""TensorRT: the graph as its parser takes it best, plugins where they pay, recipes to build."""
