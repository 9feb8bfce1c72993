"""Every error that Streamgauge raises on purpose.

An error carries fields and makes its message from them, so that callers never parse text.

    StreamgaugeError
        OptionError             an option or an expression in the configuration is wrong
        RestartNeeded           an option changed that cannot change while the server runs (409)
        NotReloadable           there is no configuration file to read again (409)
        ExpressionError         an SQL expression cannot be used
        DecodeError             a payload as a whole cannot be read (answered 400)
            TooLarge            a limit on size was exceeded (413)
            UnsupportedEncoding an encoding that we do not speak (415)
            IdempotencyKeyReused a key came before with another body (422)
            UnknownParameter    a query string has a parameter that there is not (422)
        QueryError              a question that cannot be answered as put (400)
            UnknownMetric       no metric of that name (404)
            QueryTimeout        it took longer than its limit (503)
        Saturated               no room now; try again after a while (503)
            StorageFull         no room on the disk (503)
            Draining            the server is shutting down (503)
        DataFolderInUse         another process owns the data folder
        StoreError              the store failed
            StoreInvalid        this process cannot use it any more; the next one can
        StoreBehind             the store lacks what the journal no longer has
        JournalError            the journal failed
            JournalDamaged      a journal file does not hold what it should
        UnwritableEvent         an event that a client cannot write as JSON
        NotSeveral              one event where several were expected
        BufferFull              a client's buffer stayed full
        ClientClosed            a client takes no more events
        StageFailed             a stage failed more often than its supervisor allows
        InternalError           a broken invariant: a bug of ours
"""

from difflib import get_close_matches


class StreamgaugeError(Exception):
    """Root of all errors Streamgauge raises on purpose."""


class OptionError(StreamgaugeError, ValueError):
    """An option is wrong: where, what was found, what to do."""

    def __init__(self, path: str, problem: str, fix: str) -> None:
        self.path, self.problem, self.fix = path, problem, fix
        super().__init__(f"{path}: {problem}; {fix}")


class RestartNeeded(StreamgaugeError):
    """Options changed that cannot change while the server runs; nothing was changed."""

    code = "restart_needed"

    def __init__(self, file: str, keys: list[str]) -> None:
        self.file, self.keys = file, keys
        super().__init__(
            f"{file}: {', '.join(keys)} cannot change while the server runs, so nothing was changed;"
            " restart the server, or take that back"
        )


class NotReloadable(StreamgaugeError):
    """The server has no configuration file that could be read again."""

    code = "no_configuration_file"

    def __init__(self) -> None:
        super().__init__(
            "the server was started without a configuration file; restart it with one: `streamgauge serve FILE`"
        )


class ExpressionError(StreamgaugeError, ValueError):
    """An SQL expression cannot be parsed or uses what is not allowed."""

    def __init__(self, expression: str, problem: str) -> None:
        self.expression, self.problem = expression, problem
        super().__init__(f"`{expression}`: {problem}")


class DecodeError(StreamgaugeError, ValueError):
    """A payload as a whole cannot be read; nothing of it was accepted."""

    code = "malformed"

    def __init__(self, problem: str, *, code: str | None = None) -> None:
        self.problem = problem
        if code is not None:
            self.code = code
        super().__init__(problem)


class IdempotencyKeyReused(DecodeError):
    """An `Idempotency-Key` that another request has used, with another body."""

    code = "idempotency_key_reused"

    def __init__(self) -> None:
        super().__init__(
            "Idempotency-Key: it came before with another body; give every request a key of its own, and repeat a"
            " request exactly as it was"
        )


class UnknownParameter(DecodeError):
    """A query string has a parameter that there is not."""

    code = "unknown_parameter"

    def __init__(self, name: str, known: list[str]) -> None:
        self.name, self.known = name, known
        near = get_close_matches(name.lower(), known, 1)
        hint = f"did you mean {near[0]}? " if near else ""
        super().__init__(f"query: {name[:60]!r}: unknown; {hint}There are {', '.join(known)}")


class TooLarge(DecodeError):
    """A limit on size was exceeded before memory was spent."""

    code = "too_large"


class UnsupportedEncoding(DecodeError):
    """A media type or content encoding that we do not speak."""

    code = "unsupported_media_type"


class QueryError(StreamgaugeError, ValueError):
    """A question that cannot be answered as it was put."""

    code = "bad_query"


class UnknownMetric(QueryError):
    """There is no metric of that name."""

    code = "unknown_metric"

    def __init__(self, name: str, known: list[str]) -> None:
        self.name, self.known = name, known
        super().__init__(f"no metric named {name!r}; there are: {', '.join(known)}")


class QueryTimeout(QueryError):
    """The query ran longer than it may."""

    code = "query_timeout"


class Saturated(StreamgaugeError):
    """There is no room now; the sender should try again after `retry_after_s` seconds."""

    code = "saturated"

    def __init__(self, reason: str, retry_after_s: float = 1.0) -> None:
        self.reason, self.retry_after_s = reason, retry_after_s
        super().__init__(f"{reason}; try again in {retry_after_s:g} s")


class StorageFull(Saturated):
    """The disk, or the journal's share of it, is full."""

    code = "storage_full"


class Draining(Saturated):
    """The server is shutting down; the next one takes events again."""

    code = "draining"

    def __init__(self) -> None:
        super().__init__("the server is shutting down", 5.0)


class DataFolderInUse(StreamgaugeError):
    """Another process owns the data folder. process: its number; address: where it listens; where they are known."""

    def __init__(self, folder: str, process: int | None = None, address: str = "") -> None:
        self.folder, self.process, self.address = folder, process, address
        who = f" (it is process {process}{f', at {address}' if address else ''})" if process else ""
        super().__init__(
            f"{folder}: another process is using this data folder; stop it, or choose another with --data{who}"
        )


class StoreError(StreamgaugeError):
    """The store failed; what was not committed is still in the journal."""


class StoreRefused(StoreError):
    """The store is none that this program can use: somebody has to look at it, and starting again does not help."""


class StoreInvalid(StoreError):
    """The store cannot be used by this process any more; started again, it goes on from the journal."""


class StoreBehind(StreamgaugeError):
    """The store is missing, or older than what the journal still reaches back to."""

    def __init__(self, store: str, stored_seq: int, first_seq: int) -> None:
        self.store, self.stored_seq, self.first_seq = store, stored_seq, first_seq
        found = (
            f"it ends at append {stored_seq}" if stored_seq else "there is nothing in it, or it is missing"
        )
        super().__init__(
            f"{store}: {found}, but the journal begins at append {first_seq}; restore it from a backup,"
            " or start with --rebuild to go on with what the journal still has"
        )


class JournalError(StreamgaugeError):
    """The journal could not be written or read."""


class JournalDamaged(JournalError):
    """A journal file does not hold what it should."""

    def __init__(self, path: str, offset: int, problem: str) -> None:
        self.path, self.offset, self.problem = path, offset, problem
        super().__init__(f"{path} at byte {offset}: {problem}")


class FilesGone(JournalError):
    """A file of the data folder was taken away, or another put in its place, while it was in use."""

    def __init__(self, file: str) -> None:
        self.file = file
        super().__init__(
            f"{file}: it was removed, or another file put in its place, while the server used it;"
            " what is written to it now does not outlive the process; put the data folder back before the next start,"
            " which begins with what it finds there"
        )


class BackupError(StreamgaugeError):
    """A backup could not be made or used."""


class BackupDamaged(BackupError):
    """A backup does not hold what it should."""

    def __init__(self, file: str, problem: str) -> None:
        self.file, self.problem = file, problem
        super().__init__(f"{file}: not a whole backup: {problem}; use another one")


class UnwritableEvent(StreamgaugeError, ValueError):
    """An event cannot be sent. index: its place among those that were pushed together, none of which was taken."""

    def __init__(self, index: int, problem: str) -> None:
        self.index, self.problem = index, problem
        super().__init__(f"event {index}: {problem}")


class NotSeveral(StreamgaugeError, TypeError):
    """One event was given where several were expected."""

    def __init__(self) -> None:
        super().__init__("push_events: expected several events, got one mapping; use push_event")


class BufferFull(StreamgaugeError):
    """A client's buffer stayed full. taken: how many of the events, from the first on, will be sent nevertheless."""

    def __init__(self, url: str, waited_s: float, taken: int, left: int) -> None:
        self.url, self.waited_s, self.taken, self.left = url, waited_s, taken, left
        super().__init__(
            f"{left:,} events found no room within {waited_s:g} s, because {url} takes none or too few;"
            f' push them again later ({taken:,} before them were taken), or choose when_full="drop"'
        )


class ClientClosed(StreamgaugeError):
    """A client was closed, and takes no more events."""

    def __init__(self, url: str) -> None:
        self.url = url
        super().__init__(f"this client of {url} was closed; make another")


class ServerFailed(StreamgaugeError):
    """The server had to end by itself; started again, it goes on from its journal."""


class InternalError(StreamgaugeError):
    """A broken invariant: a bug of ours. Carries the values that broke it."""
