"""What runs on the device, and what runs, compares and times it."""
