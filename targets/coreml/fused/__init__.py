"""How each fused operator becomes operations of MIL."""
