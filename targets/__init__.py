"""One folder per target: profile, checks, emit."""
