"""Every fault that the documents speak of, made under load, each answer checked."""
