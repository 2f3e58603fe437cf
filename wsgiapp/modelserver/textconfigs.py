"""TF Serving's small configuration files, in the text format of messages that tensorflow-serving-api lacks.

Sources: `tensorflow_serving/config/ssl_config.proto` and `monitoring_config.proto`.
"""

from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

from wsgiapp.errors import SettingsError

_PACKAGE = "tensorflow.serving"
_FIELD = descriptor_pb2.FieldDescriptorProto
_MESSAGES: dict[str, list[tuple[str, Any]]] = {  # fields with their types: of protobuf's own, or a message's name
    "SSLConfig": [
        ("server_key", _FIELD.TYPE_STRING),
        ("server_cert", _FIELD.TYPE_STRING),
        ("custom_ca", _FIELD.TYPE_STRING),
        ("client_verify", _FIELD.TYPE_BOOL),
    ],
    "PrometheusConfig": [("enable", _FIELD.TYPE_BOOL), ("path", _FIELD.TYPE_STRING)],
    "MonitoringConfig": [("prometheus_config", "PrometheusConfig")],
}


def _message_classes() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(
        name="wsgiapp/modelserver/textconfigs.proto", package=_PACKAGE, syntax="proto3"
    )
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for number, (field, kind) in enumerate(fields, 1):
            added = message.field.add(name=field, number=number, label=_FIELD.LABEL_OPTIONAL)
            if isinstance(kind, str):
                added.type, added.type_name = _FIELD.TYPE_MESSAGE, f".{_PACKAGE}.{kind}"
            else:
                added.type = kind
    pool = descriptor_pool.DescriptorPool()  # of its own: another package may know these messages, too
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}")) for name in _MESSAGES
    }


_CLASSES = _message_classes()


def read(kind: str, path: Path) -> Any:
    """The message `kind` in a file. Raises `SettingsError`, with TF Serving's text where it does not parse."""
    try:
        return text_format.Parse(path.read_text(encoding="utf-8"), _CLASSES[kind]())
    except (OSError, UnicodeDecodeError) as exc:
        raise SettingsError(f"{path}: {exc}") from exc
    except text_format.ParseError as exc:
        raise SettingsError(f"Error parsing text-format {_PACKAGE}.{kind}: {path}:{exc}") from exc
