"""Who made a bundle and what is in it: signatures, and a bill of materials."""
