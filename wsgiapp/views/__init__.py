"""The views: each parses a request, calls the data plane and answers."""
