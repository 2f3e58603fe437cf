"""Who may ask for what: API keys of clients, tokens of those who manage the models."""
