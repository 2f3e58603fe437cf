"""The built-in model server: TF Serving's gRPC API over TensorFlow in Python, where no container engine is at hand.

    server           the process: models -> gRPC -> drain
    services         the gRPC services, thin over the manager and the procedures below
    manager          which versions should be loaded, which are, and who uses them
    loading          a version directory -> a servable, warmed up (warmup)
    saved_model      a SavedModel in a session         } what imports TensorFlow
    tflite           a model.tflite on interpreters    }
    batching         requests that wait at the same moment share a run
    predict, classify, regress, multi_inference        requests -> runs of a servable -> responses
    flags            the command line

Nothing here is imported by the gateway, and nothing here knows gevent.
"""
