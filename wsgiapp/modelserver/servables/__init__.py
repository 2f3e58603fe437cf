"""Loaded versions: SavedModels and TensorFlow Lite models that answer runs, alone or in batches."""
