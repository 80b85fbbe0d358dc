"""Attention in which each query meets only some keys."""
