"""TensorFlow Serving's formats: messages, tensors, configuration, versions on disk, SavedModels."""
