"""Float types of the graph: what becomes float16 or bfloat16, what stays float32, Casts between."""
