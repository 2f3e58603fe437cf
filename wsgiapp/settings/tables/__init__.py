"""The tables of `wsgiapp.toml`: every setting in one declaration each."""
