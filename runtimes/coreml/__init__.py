"""A reference evaluator of Core ML packages: what a saved program means, without Core ML."""
