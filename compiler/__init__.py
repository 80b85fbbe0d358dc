"""Tracing, the operator set, the pipeline, bundles and the command line."""
