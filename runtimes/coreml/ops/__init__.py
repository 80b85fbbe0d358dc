"""What the operations of an ML program compute, by group."""
