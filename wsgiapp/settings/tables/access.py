"""The table `[access]`: API keys of clients, and tokens of those who manage the models."""

from dataclasses import dataclass

from wsgiapp.settings.constraints import FILE_PATH
from wsgiapp.settings.declaration import RESTART, setting


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Who may ask."""

    keys: bool = setting(
        False,
        "predictions, `/v1/models` and `/` need an API key, which `wsgiapp keys add` makes; health, readiness and "
        "metrics do not",
        RESTART,
    )
    file: str = setting(
        "",
        "file with the hashes of keys and tokens, its owner's alone, from the home folder on; workers see a change of "
        "it within a second; empty: `access/keys.json`",
        RESTART,
        FILE_PATH,
    )
