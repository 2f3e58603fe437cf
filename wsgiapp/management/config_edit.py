"""Changes of a `models.config` that leave its comments, its order and its layout as they are.

The file belongs to the operator, so a promotion edits it as a person would, instead of printing it anew. The format:
https://protobuf.dev/reference/protobuf/textformat-spec/
"""

import re
from dataclasses import dataclass, field
from typing import Any

from google.protobuf import text_encoding

from wsgiapp.errors import SettingsError
from wsgiapp.tfserving import model_config
from wsgiapp.tfserving.messages import ModelServerConfig

TOKEN = re.compile(r"""#[^\n]*|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|[{}<>\[\]:,;]|[^\s{}<>\[\]:,;#"']+""")
INDENT = re.compile(r"[ \t]*")
REST_OF_LINE = re.compile(r"[ \t]*[,;]?[ \t]*(#[^\n]*)?(?=\n)")
OPENING, CLOSING, SEPARATORS = "{<", "}>", ",;"
NOT_EDITABLE = "models.config is written in a way that cannot be edited safely; edit it by hand and reload it"


@dataclass(slots=True)
class _Field:
    """A field: where its value stands in the text, and, where that is a message, the fields of it."""

    name: str
    start: int
    end: int
    fields: list["_Field"] = field(default_factory=list)

    def all(self, name: str) -> list["_Field"]:
        return [each for each in self.fields if each.name == name]


def with_label(text: str, model: str, label: str, version: int) -> str:
    """The text with a label of a model on another version; the label may be new. Raises `SettingsError`."""
    changed = model_config.parse(text, where="models.config")
    _config_of(changed, model).version_labels[label] = version
    config = _config_field(text, model)
    for entry in config.all("version_labels"):
        if [_unquoted(text, key) for key in entry.all("key")] == [label] and entry.all("value"):
            edited = _replaced(text, entry.all("value")[0], str(version))
            break
    else:
        line = f"version_labels {{ key: {_quoted(label)} value: {version} }}"
        edited = _appended(text, config, line)
    return _verified(edited, changed)


def with_versions(text: str, model: str, versions: list[int]) -> str:
    """The text with the policy of a model set to these versions. Raises `SettingsError`."""
    changed = model_config.parse(text, where="models.config")
    policy = _config_of(changed, model).model_version_policy
    policy.Clear()
    policy.specific.versions.extend(versions)
    config = _config_field(text, model)
    body = " ".join(f"versions: {version}" for version in versions)
    if present := config.all("model_version_policy"):
        edited = _replaced(text, present[0], f"{{ specific {{ {body} }} }}")
    else:
        edited = _appended(text, config, f"model_version_policy {{ specific {{ {body} }} }}")
    return _verified(edited, changed)


def _config_of(config: ModelServerConfig, model: str) -> Any:
    for each in config.model_config_list.config:
        if each.name == model:
            return each
    raise SettingsError(f"models.config: there is no model {model!r}")


def _verified(edited: str, wanted: ModelServerConfig) -> str:
    """The text, if it says what it should."""
    if model_config.parse(edited, where="models.config") != wanted:
        raise SettingsError(NOT_EDITABLE)
    return edited


class _Reader:
    """Walks over the tokens of a text."""

    def __init__(self, text: str) -> None:
        self._tokens = [match for match in TOKEN.finditer(text) if not match[0].startswith("#")]
        self._position = 0

    def fields(self) -> list[_Field]:
        """The fields up to the end of the message, the closing brace included."""
        fields = []
        while self._position < len(self._tokens):
            name = self._take()
            if name[0] in CLOSING:
                break
            if name[0] in SEPARATORS:
                continue
            value = self._take()
            if value[0] == ":":
                value = self._take()
            inner = self.fields() if value[0] in OPENING else []
            if value[0] == "[":
                while self._take()[0] != "]":
                    pass
            end = self._tokens[self._position - 1].end()
            fields.append(_Field(name[0], value.start(), end, inner))
        return fields

    def _take(self) -> re.Match[str]:
        if self._position == len(self._tokens):
            raise SettingsError(NOT_EDITABLE)
        self._position += 1
        return self._tokens[self._position - 1]


def _config_field(text: str, model: str) -> _Field:
    root = _Field("", 0, len(text), _Reader(text).fields())
    for models in root.all("model_config_list"):
        for config in models.all("config"):
            if [_unquoted(text, name) for name in config.all("name")] == [model]:
                return config
    raise SettingsError(NOT_EDITABLE)


def _replaced(text: str, value: _Field, new: str) -> str:
    return text[: value.start] + new + text[value.end :]


def _appended(text: str, message: _Field, line: str) -> str:
    """The text with one more field in a message: on a line of its own, if the last field and what follows allow it."""
    last = message.fields[-1]
    line_start = text.rfind("\n", 0, last.start) + 1
    rest = REST_OF_LINE.match(text, last.end)
    if line_start <= message.start or rest is None:
        return f"{text[: last.end]} {line}{text[last.end :]}"
    indent = INDENT.match(text, line_start)
    return f"{text[: rest.end()]}\n{indent[0] if indent else ''}{line}{text[rest.end() :]}"


def _unquoted(text: str, value: _Field) -> str:
    written = text[value.start : value.end]
    return text_encoding.CUnescape(written[1:-1]).decode("utf-8", "replace")


def _quoted(value: str) -> str:
    return f'"{text_encoding.CEscape(value.encode(), as_utf8=False)}"'
