"""The built-in model server: TF Serving's gRPC API over TensorFlow in Python, where no container engine is at hand.

    server    the process: models -> gRPC -> drain
    services  PredictionService and ModelService, thin over the manager
    manager   which versions should be loaded, which are, and who uses them
    servable  one loaded SavedModel; the only module that touches TensorFlow
    storage   version directories
    config    models.config
    flags     the command line

Nothing here is imported by the gateway, and nothing here knows gevent.
"""
