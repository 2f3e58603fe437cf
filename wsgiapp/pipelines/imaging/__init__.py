"""Image files <-> arrays."""
