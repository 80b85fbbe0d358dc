"""What no reader needs is not computed: operators are narrowed to the rows that are read."""
