"""Random input for every parser of what clients and servers send, and for the running service."""
