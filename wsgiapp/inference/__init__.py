"""Predictions: from a payload to an answer, in as few calls to the model server as may be."""
