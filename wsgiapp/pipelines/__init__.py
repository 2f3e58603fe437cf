"""What model families need around their models, one family a file; `pipeline` says what each has to offer."""
