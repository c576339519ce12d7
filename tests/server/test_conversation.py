"""The conversation: the order of the checks, of the answers and of the clean-up; what a bad frame,
a defect and a broken disk lead to; when a client is read no further."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
from support.in_process import Clock
from support.server_parts import FakeOutbox, FakeStream, connection, outbox_of, sent, session

import protocol
from protocol import ErrorCode, Refusal
from server.base.limits import MemoryBudget, RateLimits
from server.base.settings import Settings
from server.base.shutdown import Shutdown
from server.handlers import HANDLERS
from server.handlers.context import Context
from server.running import conversation as module
from server.running.conversation import WAITING_BYTES, Conversation, DecodedPackets
from server.state.session import Connection, Session
from storage.errors import StorageError, StorageFailed, StorageFull

Packet = dict[str, Any]


class Talk:
    """One conversation with fakes below it: what `serve` is given comes in, `answers` went out."""

    def __init__(self, patch: pytest.MonkeyPatch, **settings: Any) -> None:
        self._patch = patch
        self.settings = Settings(**settings)
        self.clock = Clock(100.0)
        self.decoded = DecodedPackets(MemoryBudget(0))
        self.removed: list[Connection] = []
        self.ended: list[Session] = []
        self.failures: list[StorageError] = []
        self.handled: list[str] = []
        self.pauses: list[float] = []
        self.shutdown = Shutdown(self.clock)
        self.context = cast(
            Context,
            SimpleNamespace(
                settings=self.settings,
                clock=self.clock,
                shutdown=self.shutdown,
                rates=RateLimits(self.settings.rate_limit, self.settings.rate_burst, self.clock),
                registry=SimpleNamespace(remove_connection=self.removed.append),
                writer=SimpleNamespace(disk_failed=self.failures.append),
            ),
        )
        patch.setattr(module, "end_session", lambda context, session: self.ended.append(session))
        patch.setattr(self.shutdown, "pause", lambda seconds, gone: self.pauses.append(seconds))

    def handler(self, record: type[protocol.Request], answer: Callable[[], bytes | None]) -> None:
        """Let `answer` stand for the handler of these packets."""

        def handle(context: Context, connection: Connection, request: Any) -> bytes | None:
            self.handled.append(request.ACTION)
            return answer()

        self._patch.setitem(HANDLERS, record, handle)

    def serve(self, *chunks: bytes, logged_in: bool = True) -> Connection:
        """Serve a client that sends these, each in one piece, and then closes its direction."""
        peer = connection(FakeStream(*chunks))
        if logged_in:
            session(1, on=peer)
        Conversation(self.context, self.decoded, peer).run()
        return peer


@pytest.fixture
def talk(monkeypatch: pytest.MonkeyPatch) -> Talk:
    return Talk(monkeypatch)


def packet(action: str, **data: Any) -> bytes:
    return protocol.frame(json.dumps({"action": action, "data": data}).encode())


def numbered(action: str, request_id: str, **data: Any) -> bytes:
    body = {"action": action, "data": data, "request_id": request_id}
    return protocol.frame(json.dumps(body).encode())


def answers(peer: Connection) -> list[Packet]:
    """All that was sent to the client, as packets."""
    reader = protocol.FrameReader(0)
    reader.feed(b"".join(sent(peer)))
    found = []
    while (payload := reader.next_frame()) is not None:
        found.append(json.loads(payload))
    return found


def codes(peer: Connection) -> list[str]:
    return [answer.get("code", answer["action"]) for answer in answers(peer)]


def stream_of(peer: Connection) -> FakeStream:
    return cast(Any, peer.stream)


def pong() -> bytes:
    return protocol.build("pong")


ACK = protocol.build_request("ack", {"transaction_id": "m1"}, status="success")
GET_USERS = packet("get_users", chatid="user1")


# The order of the checks (R-ERR)


def test_what_is_no_json_is_answered_before_anything_else_is_looked_at(talk: Talk) -> None:
    peer = talk.serve(protocol.frame(b'{"action":'), logged_in=False)
    assert codes(peer) == ["bad_json"]


def test_an_unknown_action_is_told_before_the_missing_login(talk: Talk) -> None:
    assert codes(talk.serve(packet("dance"), logged_in=False)) == ["unknown_action"]


def test_the_missing_login_is_told_before_the_fields(talk: Talk) -> None:
    bad_fields = packet("send_message", chatid=7)
    assert codes(talk.serve(bad_fields, logged_in=False)) == ["not_logged_in"]


def test_bad_fields_are_told_before_another_name(talk: Talk) -> None:
    peer = talk.serve(packet("send_message", chatid="somebody-else", room_id="lobby"))
    assert codes(peer) == ["bad_packet"]


def test_another_name_is_forbidden_before_the_handler_is_asked(talk: Talk) -> None:
    talk.handler(protocol.GetUsers, pong)
    peer = talk.serve(packet("get_users", chatid="somebody-else"))
    assert codes(peer) == ["forbidden"]
    assert talk.handled == []


def test_ones_own_name_may_be_written_in_other_letters(talk: Talk) -> None:
    talk.handler(protocol.GetUsers, pong)
    assert codes(talk.serve(packet("get_users", chatid="USER1"))) == ["pong"]


def test_a_packet_that_passes_every_check_is_handled(talk: Talk) -> None:
    talk.handler(protocol.GetUsers, pong)
    assert codes(talk.serve(GET_USERS)) == ["pong"]
    assert talk.handled == ["get_users"]


def test_a_packet_known_from_a_member_still_needs_a_login(talk: Talk) -> None:
    talk.handler(protocol.Ack, lambda: None)
    talk.serve(ACK)
    assert talk.handled == ["ack"]
    assert codes(talk.serve(ACK, logged_in=False)) == ["not_logged_in"]
    assert talk.handled == ["ack"]


# Answers


def test_the_answers_of_frames_read_at_once_go_as_one_send_in_their_order(talk: Talk) -> None:
    talk.handler(protocol.GetUsers, pong)
    peer = talk.serve(numbered("ping", "1") + GET_USERS + packet("dance") + numbered("ping", "2"))
    assert len(sent(peer)) == 1
    assert codes(peer) == ["pong", "pong", "unknown_action", "pong"]
    assert [answer.get("request_id") for answer in answers(peer)] == ["1", None, None, "2"]


def test_a_frame_that_comes_in_pieces_is_answered_once_it_is_whole(talk: Talk) -> None:
    ping = numbered("ping", "1")
    peer = talk.serve(ping[:3], ping[3:9], ping[9:])
    assert codes(peer) == ["pong"]


def test_a_large_answer_is_sent_at_once(talk: Talk) -> None:
    talk.handler(protocol.GetUsers, lambda: b"x" * (module.REPLIES_AT_ONCE_BYTES + 1))
    peer = talk.serve(GET_USERS + numbered("ping", "1"))
    assert len(sent(peer)) == 2


def test_nothing_is_sent_for_a_packet_without_an_answer(talk: Talk) -> None:
    talk.handler(protocol.Ack, lambda: None)
    assert sent(talk.serve(ACK)) == []


# Trouble


def raises(error: Exception) -> Callable[[], bytes]:
    def answer() -> bytes:
        raise error

    return answer


def test_a_refusal_of_the_handler_is_its_answer(talk: Talk) -> None:
    talk.handler(protocol.GetUsers, raises(Refusal(ErrorCode.FORBIDDEN, "planted")))
    (answer,) = answers(talk.serve(GET_USERS))
    assert (answer["code"], answer["message"]) == ("forbidden", "planted")
    assert answer["original_action"] == "get_users"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ZeroDivisionError("planted"), "internal_error"),
        (TimeoutError("planted"), "internal_error"),
        (StorageError("planted"), "internal_error"),
        (StorageFull("planted"), "storage_full"),
    ],
)
def test_trouble_with_one_request_ends_nothing(talk: Talk, error: Exception, code: str) -> None:
    talk.handler(protocol.GetUsers, raises(error))
    peer = talk.serve(GET_USERS + numbered("ping", "1"))
    assert codes(peer) == [code, "pong"]
    assert "planted" not in json.dumps(answers(peer)), "the log says what it was, the peer does not"
    assert talk.failures == []


def test_a_broken_disk_is_told_to_the_writer(talk: Talk) -> None:
    error = StorageFailed("planted")
    talk.handler(protocol.GetUsers, raises(error))
    assert codes(talk.serve(GET_USERS)) == ["internal_error"]
    assert talk.failures == [error]


def test_a_frame_that_is_too_large_ends_the_conversation_with_a_reason(talk: Talk) -> None:
    most = protocol.MAX_FRAME_BEFORE_LOGIN
    peer = talk.serve(
        numbered("ping", "1") + (most + 1).to_bytes(4, "big"),
        numbered("ping", "never read"),
        logged_in=False,
    )
    assert codes(peer) == ["pong", "bad_frame"]
    assert stream_of(peer).calls.count("receive") == 1
    assert stream_of(peer).calls[-3:] == ["discard_rest", "shut", "close"]


def test_too_many_frames_that_are_no_json_end_the_conversation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    talk = Talk(monkeypatch, max_bad_json=2)
    peer = talk.serve(protocol.frame(b"{") * 3 + numbered("ping", "1"))
    assert codes(peer) == ["bad_json", "bad_json"]


# How much is read


def test_counted_requests_over_the_rate_are_read_later_and_none_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    talk = Talk(monkeypatch, rate_limit=1, rate_burst=2)
    talk.handler(protocol.GetUsers, pong)
    peer = talk.serve(GET_USERS * 4)
    assert codes(peer) == ["pong"] * 4
    assert talk.pauses == [1.0, 2.0]


def test_pings_and_answers_to_messages_are_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    talk = Talk(monkeypatch, rate_limit=1, rate_burst=1)
    talk.handler(protocol.Ack, lambda: None)
    talk.serve((numbered("ping", "1") + ACK) * 50)
    assert talk.pauses == []


def test_a_refused_packet_counts_also_where_its_kind_is_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    talk = Talk(monkeypatch, rate_limit=1, rate_burst=1)
    talk.handler(protocol.Ack, raises(Refusal(ErrorCode.TRANSACTION_NOT_FOUND, "planted")))
    talk.serve(ACK * 2)
    assert talk.pauses == [1.0]


def test_a_client_that_does_not_take_its_answers_is_read_no_further(
    talk: Talk, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []

    def wait_below(self: FakeOutbox, size: int, seconds: float) -> bool:
        if self.waiting > size:
            order.append(f"waits for {size}")
            self.waiting = 0
        return True

    def receive(self: FakeStream, size: int) -> bytes:
        order.append("reads")
        return self.chunks.pop(0) if self.chunks else b""

    def answer() -> bytes:
        outbox_of(peer).waiting = WAITING_BYTES + 1
        return pong()

    monkeypatch.setattr(FakeOutbox, "wait_below", wait_below)
    monkeypatch.setattr(FakeStream, "receive", receive)
    talk.handler(protocol.GetUsers, answer)
    peer = connection(FakeStream(GET_USERS, numbered("ping", "1")))
    session(1, on=peer)
    Conversation(talk.context, talk.decoded, peer).run()
    assert order == ["reads", f"waits for {WAITING_BYTES}", "reads", "reads"]


def test_while_the_server_closes_nothing_more_is_read(talk: Talk) -> None:
    talk.shutdown.is_closing = True
    peer = talk.serve(numbered("ping", "1"))
    assert sent(peer) == [] and "receive" not in stream_of(peer).calls


@pytest.mark.parametrize(
    ("is_closing", "why"), [(True, "the server stops"), (False, "the client left")]
)
def test_the_log_says_who_ended_a_conversation(
    talk: Talk, caplog: pytest.LogCaptureFixture, is_closing: bool, why: str
) -> None:
    talk.shutdown.is_closing = is_closing
    peer = connection(FakeStream(b""))
    session(1, on=peer)
    with caplog.at_level("INFO"):
        Conversation(talk.context, talk.decoded, peer).run()
    assert caplog.records[-1].getMessage().endswith(f" ended: {why}")


def test_a_frame_that_is_begun_is_timed_from_its_first_byte_to_its_last(talk: Talk) -> None:
    ping = numbered("ping", "1")
    begun: list[float | None] = []

    class Watched(FakeStream):
        def receive(self, size: int) -> bytes:
            begun.append(peer.frame_begun_at)
            talk.clock.now += 1.0
            return super().receive(size)

    peer = connection(Watched(ping[:3], ping[3:5], ping[5:]))
    Conversation(talk.context, talk.decoded, peer).run()
    assert begun == [None, 101.0, 101.0, None]


# The clean-up


def test_at_the_end_the_session_is_ended_before_the_connection_is_given_up(
    talk: Talk, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    monkeypatch.setattr(module, "end_session", lambda context, session: order.append("session"))
    monkeypatch.setattr(
        talk.context.registry, "remove_connection", lambda connection: order.append("registry")
    )
    monkeypatch.setattr(FakeStream, "close", lambda stream: order.append("socket"))
    talk.serve(numbered("ping", "1"))
    assert order == ["session", "registry", "socket"]


def test_without_a_login_there_is_no_session_to_end(talk: Talk) -> None:
    peer = talk.serve(numbered("ping", "1"), logged_in=False)
    assert talk.ended == [] and talk.removed == [peer]
    assert stream_of(peer).calls[-1] == "close"


@pytest.mark.parametrize("error", [ConnectionResetError("planted"), OSError("planted")])
def test_a_connection_that_breaks_is_cleaned_up(
    talk: Talk, monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    def receive(self: FakeStream, size: int) -> bytes:
        raise error

    monkeypatch.setattr(FakeStream, "receive", receive)
    peer = talk.serve()
    assert talk.ended == [peer.session] and talk.removed == [peer]
    assert "connection lost" in str(outbox_of(peer).broken)


def test_the_place_is_given_up_also_where_the_session_cant_be_ended(
    talk: Talk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def end(context: Context, session: Session) -> None:
        raise ZeroDivisionError("planted")

    monkeypatch.setattr(module, "end_session", end)
    peer = connection(FakeStream())
    session(1, on=peer)
    with pytest.raises(ZeroDivisionError):
        Conversation(talk.context, talk.decoded, peer).run()
    assert talk.removed == [peer]
    assert stream_of(peer).calls[-1] == "close"


def test_who_closed_only_its_own_direction_still_gets_its_answers(
    talk: Talk, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[int] = []

    def wait_below(self: FakeOutbox, size: int, seconds: float) -> bool:
        waited.append(size)
        return len(waited) >= 3

    monkeypatch.setattr(FakeOutbox, "wait_below", wait_below)
    talk.serve(numbered("ping", "1"), logged_in=False)
    assert waited == [0, 0, 0], "until nothing waits, looking again and again"


def test_a_packet_with_a_number_of_its_own_is_not_kept_decoded() -> None:
    """It never comes again, and would only fill the memory."""
    decoded = DecodedPackets(MemoryBudget(0))
    for request_id in (None, "r1"):
        decoded.add(b"%r" % request_id, protocol.Ack(request_id, "m1", "success"))
    assert decoded.get(b"None") is not None and decoded.get(b"'r1'") is None
