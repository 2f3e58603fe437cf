"""API keys and tokens for tests."""

from pathlib import Path
from typing import Any

from wsgiapp.access.authenticator import Authenticator
from wsgiapp.access.credentials_file import CredentialsFile
from wsgiapp.access.holders import Key, Token
from wsgiapp.access.secret import KEY_PREFIX, TOKEN_PREFIX, Secret, new_text


class Keyring:
    """A file of credentials, and the texts of its secrets by their holders' names."""

    def __init__(self, path: Path) -> None:
        self.file = CredentialsFile(path)
        self.texts: dict[str, str] = {}

    def add_key(self, name: str, **fields: Any) -> str:
        text = self.texts[name] = new_text(KEY_PREFIX)
        with self.file.changed() as credentials:
            row, credentials.next_row = credentials.next_row, credentials.next_row + 1
            made = {"secrets": [Secret.of(text).as_dict()], "row": row, **fields}
            credentials.keys[name] = Key.from_dict(name, made)
        return text

    def add_token(self, name: str, *scopes: str, **fields: Any) -> str:
        text = self.texts[name] = new_text(TOKEN_PREFIX)
        made = {"secrets": [Secret.of(text).as_dict()], "scopes": list(scopes), **fields}
        with self.file.changed() as credentials:
            credentials.tokens[name] = Token.from_dict(name, made)
        return text

    def authenticator(self) -> Authenticator:
        return Authenticator(self.file)


def looks_again(authenticator: Authenticator) -> None:
    """Let the second pass after which the file is looked at."""
    authenticator._next_look = 0.0
