"""The exceptions of the package. They know neither HTTP nor gRPC: `web` and `backend` hold the tables.

WsgiappError
├── SettingsError            a setting is wrong; the operator has to act
├── StackError               the processes did not start, stop or become ready
│   └── EngineMissing        ... because there is no container engine to ask
├── ModelError               the files of a model cannot be read; the operator has to act
├── CapacityError            a figure to plan with makes no sense, or nothing was measured
└── RequestError             one request cannot be answered
    ├── InvalidArgument      the request makes no sense to the service or the model
    │   └── InvalidField     ... because of one named field
    ├── Unauthenticated      nobody knows who asks
    ├── PermissionDenied     the caller may not make the call
    ├── NotFound             no such model, version, label or signature
    ├── Conflict             the request collides with another one
    ├── TooLarge             a named field is over its limit
    ├── ResourceExhausted    the model server has no capacity left for this caller
    ├── RateLimited          the caller has used what it may use for now
    ├── Cancelled            the caller cancelled the call
    ├── Unimplemented        the model server does not know the call
    ├── Unavailable          nobody can answer now; the same request may work in a moment
    │   ├── Unreachable      ... because no model server can be reached
    │   └── Overloaded       ... because this worker has more predictions than it can do in time
    ├── AuditFailed          a change was not made, because the audit log cannot be written
    ├── DeadlineExceeded     the answer did not come in time
    └── InternalError        the model server failed, or its answer makes no sense
"""

UNANSWERED = "the model server did not answer before the deadline"


class WsgiappError(Exception):
    """The root: catching it catches whatever this package raises on purpose."""


class SettingsError(WsgiappError):
    """Raised while settings are read: the message names the key, its value and what would be right."""


class StackError(WsgiappError):
    """Raised by the process control: the message says which process, and where its log is."""


class EngineMissing(StackError):
    """Raised where the container engine is not installed or does not answer."""


class ModelError(WsgiappError):
    """Raised for a model's files: the message names the file, and says what to do."""


class CapacityError(WsgiappError):
    """Raised by the capacity planner: the message says which figure, or how to measure one."""


class RequestError(WsgiappError):
    """The root of what ends a single request. The message is meant for the client."""


class InvalidArgument(RequestError):
    """Raised for a request that no retry can help."""


class InvalidField(InvalidArgument):
    """Raised for one field of a request; `field` is its name as the client wrote it."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field


class TooLarge(RequestError):
    """Raised for a field over its limit; `field` is its name as the client wrote it."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field


class Unauthenticated(RequestError):
    """Raised for a missing or wrong API key or token, and when the model server asks for credentials."""


class PermissionDenied(RequestError):
    """Raised for what a key or token does not allow, and when the model server rejects the credentials."""


class NotFound(RequestError):
    """Raised for a model, version, label or signature that nobody serves."""


class Conflict(RequestError):
    """Raised when the request collides with another one that is under way."""


class ResourceExhausted(RequestError):
    """Raised when the model server reports a quota or a full queue."""


class RateLimited(RequestError):
    """Raised above a key's rate or quota, and after many wrong tokens. `retry_after` is in seconds."""

    def __init__(self, problem: str, retry_after: int) -> None:
        super().__init__(problem)
        self.retry_after = retry_after


class AuditFailed(RequestError):
    """Raised before a change whose line in the audit log cannot be written."""


class Cancelled(RequestError):
    """Raised when a call was cancelled before its answer."""


class Unimplemented(RequestError):
    """Raised when the model server lacks the call."""


class Unavailable(RequestError):
    """Raised when the model server says so, or does not serve yet. `retry_after` is in seconds."""

    retry_after = 1


class Unreachable(Unavailable):
    """Raised when no model server can be reached, or the connection to it was lost."""


class Overloaded(Unavailable):
    """Raised at once, when too many predictions are in flight, or a request would wait for too long.

    It says nothing about the model server, and never counts as its failure.
    """

    def __init__(self, problem: str, retry_after: int = 1) -> None:
        super().__init__(problem)
        self.retry_after = retry_after


class DeadlineExceeded(RequestError):
    """Raised when the model's deadline passed without an answer."""


class InternalError(RequestError):
    """Raised when the model server failed, or answered something that cannot be read."""


def with_cause(error: Exception) -> str:
    """An error's text for the operator: with the cause's words, an address for example, which clients are spared."""
    details = getattr(error.__cause__, "details", "")
    return f"{error} ({details})" if details and details not in str(error) else str(error)
