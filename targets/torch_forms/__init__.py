"""The graph after our passes as a PyTorch module, for runtimes that convert from PyTorch."""
