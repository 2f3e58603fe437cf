"""The `wsgiapp` command: one file a sub-command."""
