"""Requests that are made to do harm, by kind: what they look like, and what becomes of the service."""
