"""The built-in model server: TF Serving's gRPC API over TensorFlow in Python, where there is no container engine.

The gateway imports nothing from here, and nothing here imports gevent."""
