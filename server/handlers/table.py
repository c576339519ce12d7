"""The table from a request to the function that answers it. Filled while the modules of this
package are imported; only read after that."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

from protocol import Request
from server.handlers.context import Context
from server.state.session import Connection, Session

R = TypeVar("R", bound=Request)
Handler = Callable[[Context, Connection, Any], "bytes | None"]

HANDLERS: Final[dict[type[Request], Handler]] = {}


def handles(
    record: type[R],
) -> Callable[[Callable[[Context, Connection, R], bytes | None]], Callable[..., bytes | None]]:
    """Register the function that answers `record` on a connection, whether somebody is logged in
    there or not."""

    def register(
        function: Callable[[Context, Connection, R], bytes | None],
    ) -> Callable[..., bytes | None]:
        assert record not in HANDLERS, f"{record.ACTION} is handled twice"
        HANDLERS[record] = function
        return function

    return register


def handles_for_session(
    record: type[R],
) -> Callable[[Callable[[Context, Session, R], bytes | None]], Callable[..., bytes | None]]:
    """Register the function that answers `record` for a user who is logged in."""

    def register(
        function: Callable[[Context, Session, R], bytes | None],
    ) -> Callable[..., bytes | None]:
        @handles(record)
        def with_session(context: Context, connection: Connection, request: R) -> bytes | None:
            assert connection.session is not None, "only dispatched after a login"
            return function(context, connection.session, request)

        return function

    return register
