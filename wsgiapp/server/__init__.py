"""A worker's HTTP server: connections, requests within limits, a drain that loses nothing."""
