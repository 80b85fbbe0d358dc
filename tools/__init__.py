"""What people use around the compiler."""
