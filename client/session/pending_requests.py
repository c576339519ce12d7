"""The requests that were sent and have no answer yet.

Owns the waiting for an answer, and which answer belongs to which request. Never reads the network.
Any thread may send a request and wait; the thread that reads gives the answers.
"""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any, Final

import protocol
from client.errors import (
    BadAnswer,
    ChatError,
    ConnectionLost,
    LoginRefused,
    NotOffered,
    ServerError,
)
from client.network.link import Link
from client.records import as_object, code_and_message

_OUR_ID: Final = re.compile(rb'(?<!\\)"request_id"\s*:\s*"(r\d+)"')
"""As it stands in a packet; within a text the quotation marks have backslashes before them."""


class PendingRequest:
    """One request. `done` is set once, when an answer or an error is there."""

    def __init__(self, action: str) -> None:
        self.action = action
        self.done = threading.Event()
        self.error: ChatError | None = None
        self._packet: Mapping[str, Any] = {}

    def finish(self, packet: Mapping[str, Any]) -> None:
        """Take `packet` as the answer; a refusal becomes the error."""
        self._packet = packet
        action = packet.get("action")
        if action in ("login_fail", "register_fail"):
            self.error = LoginRefused(*code_and_message(packet, str(action)))
        elif action == "error":
            code, message = code_and_message(packet, "error")
            if code == protocol.ErrorCode.UNKNOWN_ACTION:
                self.error = NotOffered(self.action, code, message)
            else:
                is_login = self.action == "login" and code == protocol.ErrorCode.BANNED
                self.error = (LoginRefused if is_login else ServerError)(code, message)
        self.done.set()

    def fail(self, error: ChatError) -> None:
        """Give up: no answer will come, and `error` says why."""
        self.error = error
        self.done.set()

    def data(self) -> Mapping[str, Any]:
        """Return the answer's `data`; raise the error that came instead."""
        if self.error is not None:
            raise self.error
        return as_object(self._packet.get("data"))


class PendingRequests:
    """The requests of one connection, oldest first. `numbers` makes their ids."""

    def __init__(self, numbers: Iterator[int]) -> None:
        self._numbers = numbers
        # Held while a frame is queued, too: requests must stand here in the order in which they
        # are sent. Queueing never waits.
        self._lock = threading.Lock()
        self._requests: OrderedDict[str, PendingRequest] = OrderedDict()

    def send(self, link: Link, request: PendingRequest, data: Mapping[str, Any]) -> str:
        """Send a request; return its id. Raise `ConnectionLost` on a link that has ended."""
        request_id = f"r{next(self._numbers)}"
        frame = protocol.build_request(request.action, data, request_id=request_id)
        with self._lock:
            self._requests[request_id] = request
            try:
                link.send(frame)
            except ConnectionLost:
                self._requests.pop(request_id, None)
                raise
        return request_id

    def forget(self, request_id: str) -> None:
        """Stop waiting for an answer; one that comes later is passed over."""
        with self._lock:
            self._requests.pop(request_id, None)

    def take(self, packet: Mapping[str, Any]) -> PendingRequest | None:
        """Give a reply to its request and return that; None where it belongs to none.

        It is found by `request_id`; where the server repeats none, it is the oldest request that
        this reply can answer.
        """
        with self._lock:
            request_id = packet.get("request_id")
            if not isinstance(request_id, str):
                fits = (name for name, item in self._requests.items() if _answers(packet, item))
                request_id = next(fits, "")
            request = self._requests.pop(request_id, None)
        if request is not None:
            request.finish(packet)
        return request

    def fail_unreadable(self, payload: bytes, reason: str) -> None:
        """Fail the request whose answer this packet, which can't be read, is meant to be. One that
        has no answer after all this time would wait for nothing until its deadline."""
        found = _OUR_ID.search(payload)
        if found is not None:
            with self._lock:
                request = self._requests.pop(found[1].decode(), None)
            if request is not None:
                request.fail(BadAnswer(f"the answer to {request.action} can't be read: {reason}"))

    def fail_all(self, error: ChatError) -> None:
        """Give all of them up."""
        with self._lock:
            requests = list(self._requests.values())
            self._requests.clear()
        for request in requests:
            request.fail(error)

    def __len__(self) -> int:
        with self._lock:
            return len(self._requests)

    def waits_for(self, action: str) -> bool:
        """Return whether a request of this action has no answer yet."""
        with self._lock:
            return any(request.action == action for request in self._requests.values())


def _answers(packet: Mapping[str, Any], request: PendingRequest) -> bool:
    """Return whether a reply without `request_id` can be the answer to `request`."""
    if packet["action"] == "error":
        return packet.get("original_action") in (request.action, "unknown")
    entry = protocol.REQUESTS.get(request.action)
    return entry is not None and packet["action"] in entry.answers
