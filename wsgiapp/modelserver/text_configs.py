"""TF Serving's small configuration files, in the text format of messages that tensorflow-serving-api lacks.

Text format needs names and types only, so that the numbers of the fields are made up. Sources:
`tensorflow_serving/config/ssl_config.proto`, `monitoring_config.proto`, and `session_bundle_config.proto`.
"""

from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format, wrappers_pb2

from wsgiapp.errors import SettingsError
from wsgiapp.tfserving import texts

_PACKAGE = "tensorflow.serving"
_FIELD = descriptor_pb2.FieldDescriptorProto
_INT64, _BOOL, _STRING = (f".google.protobuf.{kind}Value" for kind in ("Int64", "Bool", "String"))
_REPEATED = {"allowed_batch_sizes"}
_MESSAGES: dict[str, list[tuple[str, Any]]] = {  # fields with their types: of protobuf's own, or a message's name
    "SSLConfig": [
        ("server_key", _FIELD.TYPE_STRING),
        ("server_cert", _FIELD.TYPE_STRING),
        ("custom_ca", _FIELD.TYPE_STRING),
        ("client_verify", _FIELD.TYPE_BOOL),
    ],
    "PrometheusConfig": [("enable", _FIELD.TYPE_BOOL), ("path", _FIELD.TYPE_STRING)],
    "MonitoringConfig": [("prometheus_config", f".{_PACKAGE}.PrometheusConfig")],
    "BatchingParameters": [
        ("max_batch_size", _INT64),
        ("batch_timeout_micros", _INT64),
        ("max_enqueued_batches", _INT64),
        ("num_batch_threads", _INT64),
        ("thread_pool_name", _STRING),
        ("allowed_batch_sizes", _FIELD.TYPE_INT64),
        ("pad_variable_length_inputs", _FIELD.TYPE_BOOL),
        ("enable_large_batch_splitting", _BOOL),
        ("max_execution_batch_size", _INT64),
    ],
}


def _message_classes() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(
        name="wsgiapp/modelserver/textconfigs.proto", package=_PACKAGE, syntax="proto3"
    )
    file.dependency.append(wrappers_pb2.DESCRIPTOR.name)
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for number, (field, kind) in enumerate(fields, 1):
            label = _FIELD.LABEL_REPEATED if field in _REPEATED else _FIELD.LABEL_OPTIONAL
            added = message.field.add(name=field, number=number, label=label)
            if isinstance(kind, str):
                added.type, added.type_name = _FIELD.TYPE_MESSAGE, kind
            else:
                added.type = kind
    pool = descriptor_pool.DescriptorPool()  # of its own: another package may know these messages, too
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.AddSerializedFile(file.SerializeToString())
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
        problem = texts.TEXT_FORMAT_ERROR.format(message=f"{_PACKAGE}.{kind}")
        raise SettingsError(f"{texts.INVALID_PROTOBUF_FILE.format(path=path)}: {problem}: {exc}") from exc
