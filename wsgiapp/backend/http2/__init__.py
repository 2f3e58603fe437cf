"""HTTP/2 for a client on an event loop (RFC 9113)."""
