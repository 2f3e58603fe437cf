"""The model server's flags that follow from the settings, the same for the built-in one and TensorFlow Serving."""

from wsgiapp.settings.tables.backend import Backend


def serving_flags(backend: Backend) -> list[str]:
    """What is left out has TF Serving's default in both."""
    return ["--enable_serialization_as_tensor_content=true"] if backend.serialize_as_tensor_content else []
