"""The built-in model server: TF Serving's gRPC API over TensorFlow in Python, where no container engine is at hand.

    server           the process: models -> gRPC -> REST -> drain
    flags            the command line; textconfigs: the small files that it names; credentials: TLS; signals: SIGTERM
    services         PredictionService, thin over the manager and the procedures below
    predict, classify, regress, multi_inference        requests -> runs of a servable -> responses
    model_service    ModelService; management: what TF Serving keeps to itself; health; monitoring
    config_file      models.config while it is polled
    reloads          which configuration is in force, and how another one takes its place
    manager          which versions should be loaded, which are, and who uses them
    versions         the versions of one model, and their states; threads: what loads, closes and watches them
    loading          a version directory -> a servable, warmed up (warmup)
    saved_model      a SavedModel in a session; tflite: a model.tflite on interpreters
    runtime          what is needed of TensorFlow, imported without the rest
    batching         requests that wait at the same moment share a run
    rest             the gateway worker that serves the REST API

Nothing here is imported by the gateway, and nothing here knows gevent.
"""
