"""Core ML: the graph after our passes as an ML Program, for Apple's processors."""
