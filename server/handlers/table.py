"""The table from a request to the function that answers it. Filled while the modules of this
package are imported."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeVar

from protocol import Request
from server.state.session import Connection, Session

if TYPE_CHECKING:
    from server.running.service import Service

R = TypeVar("R", bound=Request)
Handler = Callable[["Service", Connection, Any], "bytes | None"]
SessionHandler = Callable[["Service", Session, Any], "bytes | None"]

HANDLERS: Final[dict[type[Request], Handler]] = {}


def handles(
    record: type[R],
) -> Callable[[Callable[[Service, Connection, R], bytes | None]], Callable[..., bytes | None]]:
    """Register the function that answers `record` on a connection, whether somebody is logged in
    there or not."""

    def register(
        function: Callable[[Service, Connection, R], bytes | None],
    ) -> Callable[..., bytes | None]:
        assert record not in HANDLERS, f"{record.ACTION} is handled twice"
        HANDLERS[record] = function
        return function

    return register


def handles_for_session(
    record: type[R],
) -> Callable[[Callable[[Service, Session, R], bytes | None]], Callable[..., bytes | None]]:
    """Register the function that answers `record` for who is logged in."""

    def register(
        function: Callable[[Service, Session, R], bytes | None],
    ) -> Callable[..., bytes | None]:
        @handles(record)
        def with_session(service: Service, connection: Connection, request: R) -> bytes | None:
            assert connection.session is not None, "only dispatched after a login"
            return function(service, connection.session, request)

        return function

    return register
