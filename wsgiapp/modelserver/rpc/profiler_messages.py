"""The messages of `tensorflow.ProfilerService`, which TensorFlow's Python package has the C++ code of only.

Sources: `tsl/profiler/protobuf/profiler_service.proto` and `profiler_options.proto`. Only the fields that are read or
written here; protobuf skips the others.
"""

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_PACKAGE = "tensorflow"
_FIELD = descriptor_pb2.FieldDescriptorProto
_UINT32, _UINT64, _BOOL = _FIELD.TYPE_UINT32, _FIELD.TYPE_UINT64, _FIELD.TYPE_BOOL
_STRING, _BYTES = _FIELD.TYPE_STRING, _FIELD.TYPE_BYTES
_REPEATED = {"tool_data"}
_MESSAGES: dict[str, list[tuple[str, int, Any]]] = {  # names, numbers and types of the fields; a message by its name
    "ProfileOptions": [
        ("host_tracer_level", 2, _UINT32),
        ("device_tracer_level", 3, _UINT32),
        ("version", 5, _UINT32),
        ("start_timestamp_ns", 8, _UINT64),
        ("duration_ms", 9, _UINT64),
    ],
    "ProfileRequest": [
        ("opts", 4, "ProfileOptions"),
        ("session_id", 6, _STRING),
        ("emit_xspace", 9, _BOOL),
    ],
    "ProfileToolData": [("name", 1, _STRING), ("data", 2, _BYTES)],
    "ProfileResponse": [
        ("tool_data", 6, "ProfileToolData"),
        ("empty_trace", 7, _BOOL),
        ("xspace", 8, _BYTES),  # a message, which has the same encoding
    ],
    "TerminateRequest": [("session_id", 1, _STRING)],
    "TerminateResponse": [],
}


def _message_classes() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(
        name="wsgiapp/modelserver/profiler.proto", package=_PACKAGE, syntax="proto3"
    )
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, number, kind in fields:
            label = _FIELD.LABEL_REPEATED if field in _REPEATED else _FIELD.LABEL_OPTIONAL
            added = message.field.add(name=field, number=number, label=label)
            if isinstance(kind, str):
                added.type, added.type_name = _FIELD.TYPE_MESSAGE, f".{_PACKAGE}.{kind}"
            else:
                added.type = kind
    pool = descriptor_pool.DescriptorPool()  # of its own: other packages have these messages, too
    pool.AddSerializedFile(file.SerializeToString())
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}")) for name in _MESSAGES
    }


_CLASSES = _message_classes()
ProfileOptions: Any = _CLASSES["ProfileOptions"]
ProfileRequest: Any = _CLASSES["ProfileRequest"]
ProfileResponse: Any = _CLASSES["ProfileResponse"]
TerminateRequest: Any = _CLASSES["TerminateRequest"]
TerminateResponse: Any = _CLASSES["TerminateResponse"]
