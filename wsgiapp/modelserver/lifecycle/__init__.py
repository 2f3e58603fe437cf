"""Which versions should be loaded, which are, and who uses them."""
