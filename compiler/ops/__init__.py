"""The fused operators, one file each: body, reference, hard inputs, cost."""
