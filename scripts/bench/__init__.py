"""The benchmark: this service beside what people run instead of it, in one run on one machine."""
