"""`OnThisMachine`: a client of an application in this process, which may know more than the public."""

from typing import Any

from werkzeug.test import Client, TestResponse


class OnThisMachine(Client):
    """It connects by TCP from the same machine."""

    def open(self, *args: Any, **kwargs: Any) -> TestResponse:
        kwargs.setdefault("environ_base", {"REMOTE_ADDR": "127.0.0.1"})
        return super().open(*args, **kwargs)
