"""The views: each parses a request, calls a plane and answers."""
