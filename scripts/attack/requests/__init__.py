"""The heavy requests, a list named `REQUESTS` a file."""
