"""All processes together: their configuration files, start, stop and restart, the container."""
