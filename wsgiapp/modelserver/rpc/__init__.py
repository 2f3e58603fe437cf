"""The gRPC services: thin over the procedures of inference and the versions of lifecycle."""
