"""What is fed with random bytes, by its name."""
