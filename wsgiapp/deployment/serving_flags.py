"""The model server's flags that follow from the settings, the same for the built-in one and TensorFlow Serving."""

from wsgiapp.settings.tables.backend import Backend


def serving_flags(backend: Backend) -> list[str]:
    """The REST port is always named: that of TensorFlow Serving's image is 8501, that of the built-in server 0."""
    flags = [f"--rest_api_port={backend.rest_port}"]
    if backend.serialize_as_tensor_content:
        flags.append("--enable_serialization_as_tensor_content=true")
    return flags
