"""An HTTP service in front of TensorFlow Serving. Importing the package patches nothing and loads nothing."""

__version__ = "0.1.0"
