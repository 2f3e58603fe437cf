"""`Body`: the body of a request, as the application reads it."""

from collections.abc import Callable

from gevent import pywsgi


class Body(pywsgi.Input):
    """A request's body, which may end too early: then it is unknown where the next request begins."""

    is_broken = False

    def read(self, length: int | None = None) -> bytes:
        """As any stream's. Raises `OSError` for a client that has gone or is silent, and for what is not chunked."""
        return self._read(super().read, length)

    def readline(self, size: int | None = None) -> bytes:
        """See `read`."""
        return self._read(super().readline, size)

    def _read(self, reader: Callable[[int | None], bytes], size: int | None) -> bytes:
        try:
            return reader(size)
        except OSError:
            self.is_broken = True
            raise
        except ValueError as exc:  # pywsgi's, of a chunk without a size
            self.is_broken = True
            raise OSError("a chunk without a size") from exc
