"""The way to a model server: one long-lived gRPC channel, which all greenlets of a worker share."""
