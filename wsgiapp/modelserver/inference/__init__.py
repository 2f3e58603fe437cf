"""Requests -> runs of a servable -> responses: Predict, Classify, Regress, MultiInference."""
