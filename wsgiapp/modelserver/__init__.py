"""The built-in model server: TF Serving's gRPC API over TensorFlow in Python, where no container engine is at hand.

Nothing here is imported by the gateway, and nothing here knows gevent.
"""
