"""Requests that were made to hold a worker up, or to fill its memory, and what they do to it."""
