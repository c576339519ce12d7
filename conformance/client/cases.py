"""The cases about clients, one function each: the client is started, typed to, and answered by a
script.

Owns the registry of these cases. A case passes by returning; see `conformance.client.context` for
what it may use. What fails is a failure of the first of its rules, unless another is named.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from conformance.client.context import (
    Stage,
    agrees,
    deliver_in_pieces,
    deliver_together,
    said,
)
from conformance.client.default_server import Upload, key_of, letters, value
from conformance.rules import RULES
from conformance.server.context import NotReached
from conformance.verdicts import LEVELS
from conformance.wire import Packet, shown

MANY: Final = 20
VERY_MANY: Final = 100
RECONNECT_SECONDS: Final = 12.0
"""So long a client that comes back may take for its first attempts."""


@dataclass(frozen=True)
class ClientCase:
    """One case: what it looks at, and the function that does."""

    id: str
    rules: tuple[str, ...]
    level: str
    title: str
    body: Callable[[Stage], None]


REGISTRY: Final[dict[str, ClientCase]] = {}
"""Every case by its id, in the order of a run; where the first one fails, no other can be
reached."""


def case(
    level: str, rules: Sequence[str], title: str
) -> Callable[[Callable[[Stage], None]], Callable[[Stage], None]]:
    """Register a function as the case `client.FUNCTION`; the rule that it is about comes first."""
    unknown = [rule_id for rule_id in rules if rule_id not in RULES]
    if unknown or not rules or level not in LEVELS:
        raise ValueError(
            f"a case needs rules of docs/PROTOCOL.md and a level of {LEVELS}: {unknown or level!r} ({title})"
        )

    def register(body: Callable[[Stage], None]) -> Callable[[Stage], None]:
        name = f"client.{body.__name__}"
        REGISTRY[name] = ClientCase(name, tuple(rules), level, title, body)
        return body

    return register


# --- Steps that several cases take ----------------------------------------------------------------


def open_message(stage: Stage, text: str) -> Packet:
    """The user types a text; its `send_message`, to which no answer went yet."""
    stage.say(text)
    return stage.expect(
        "send_message",
        where=lambda each: said(each, text),
        what=f"`send_message` with what was typed: {shown(text)}",
    )


def count_message(stage: Stage, message: Packet, counts: dict[str, int] | None = None) -> Packet:
    """Tell the client these counts for its message; its `confirm_count`, to which no answer went
    yet."""
    reply = stage.manners.counts(message, counts)
    stage.send(reply)
    key = reply["data"]["transaction_id"]
    packet = stage.expect(
        "confirm_count",
        where=lambda each: key_of(each) == key,
        what=f"`confirm_count` for transaction {key}",
    )
    return packet


def hear_counts(stage: Stage, message: Packet) -> Packet:
    """The client's `character_count` for a message that went out to it; no answer went yet."""
    key = message["data"]["transaction_id"]
    return stage.expect(
        "character_count",
        where=lambda each: key_of(each) == key,
        what=f"`character_count` for transaction {key}",
    )


def confirm(stage: Stage, message: Packet, holds: bool) -> Packet:
    """Tell the client whether its counts are right; its `ack`."""
    key = message["data"]["transaction_id"]
    stage.send(stage.manners.confirmation(key, holds))
    return stage.expect(
        "ack", where=lambda each: key_of(each) == key, what=f"`ack` for transaction {key}"
    )


def check_counts(stage: Stage, packet: Packet, content: str, rule: str = "") -> None:
    """Fail unless the client counted these letters."""
    stage.check(
        agrees(packet, content),
        f"the counts of {shown(content)}: {shown(letters(content))}",
        shown(packet),
        rule,
    )


def upload(stage: Stage, size: int) -> tuple[Upload, bytes, list[Packet]]:
    """The user sends a file; the upload that came of it, the file's content, and the packets with
    its chunks."""
    path = stage.make_file(size)
    stage.type_line(stage.setting.driver.send, file=str(path), name=path.name)
    stage.send(*stage.manners.answer(stage.expect("file_send_init")))
    chunks: list[Packet] = []
    while True:
        packet = stage.expect(
            "file_send_data", "file_send_fin", what="`file_send_data` or `file_send_fin`"
        )
        stage.send(*stage.manners.answer(packet))
        if packet["action"] == "file_send_fin":
            break
        chunks.append(packet)
    done = next(iter(stage.manners.uploads.values()))
    return done, path.read_bytes(), chunks


def download(stage: Stage, content: bytes) -> None:
    """The user fetches a file; fails unless it lies on disk with this content."""
    name = ask_for_file(stage, content)
    packet = stage.expect("file_down_req", where=lambda each: value(each, "file_path") == name)
    stage.send(*stage.manners.answer(packet))
    check_fetched(stage, name, content)


def ask_for_file(stage: Stage, content: bytes) -> str:
    """Put a file into the room and let the user fetch it; its name."""
    name = stage.make_file(0).name
    stage.manners.files[name] = content
    stage.type_line(stage.setting.driver.get, name=name)
    return name


def check_fetched(stage: Stage, name: str, content: bytes) -> None:
    """Fail unless a fetched file lies on disk with this content."""
    assert stage.program is not None
    problem = stage.program.find_file(name, content, stage.setting.timeout, stage.answer_all)
    stage.program.remove_files(name)
    stage.check(not problem, f"a file {name} with the {len(content)} bytes that were sent", problem)


def sound(stage: Stage, content: str = "", *, sends: bool = True, hears: bool = True) -> None:
    """Given: a client that logs in, sends a message and answers one (with this content), when
    nothing is out of the ordinary."""
    if stage.peer is None:
        stage.log_in()
    if sends:
        with stage.given("a message that is sent and confirmed"):
            message = open_message(stage, stage.text(1))
            packet = count_message(stage, message)
            stage.check(
                value(packet, "confirm") is True,
                "`confirm` true, since the counts agree",
                shown(packet),
            )
            stage.send(*stage.manners.answer(packet))
    if hears:
        with stage.given("a message that is counted and acknowledged"):
            hear_one(stage, content or stage.text(1))


def hear_one(stage: Stage, content: str) -> None:
    """A message of another user, to the end: its counts are right, and an `ack` follows."""
    message = stage.manners.message(content)
    stage.send(message)
    check_counts(stage, hear_counts(stage, message), content)
    packet = confirm(stage, message, True)
    stage.manners.answer(packet)
    stage.check(packet.get("status") == "success", '`status` "success"', shown(packet))


def converse(stage: Stage) -> None:
    """A conversation with one of each packet of a client, as far as this one gets; NOT REACHED
    where it does not even log in."""
    stage.log_in()
    message = stage.manners.message(stage.text())
    stage.send(message)
    with contextlib.suppress(NotReached), stage.given("an `ack` of a message"):
        stage.settle(
            lambda: message["data"]["transaction_id"] in stage.manners.acks, "an `ack` of a message"
        )
    with contextlib.suppress(NotReached), stage.given("a message that is sent and confirmed"):
        stage.fence()
    with contextlib.suppress(NotReached), stage.given("an upload"):
        upload(stage, 100)
    with contextlib.suppress(NotReached), stage.given("a small file that is fetched"):
        download(stage, stage.content(100))


# --- Logging in, and the form of packets ----------------------------------------------------------


@case(
    "seed",
    ["R-SESS-1", "R-FRAME-1"],
    "the client logs in with the name and password that it was given, in a whole frame",
)
def logs_in(stage: Stage) -> None:
    stage.start()
    packet = stage.expect("login")
    for key, expected in (("chatid", stage.user), ("password", stage.password)):
        stage.check(
            value(packet, key) == expected, f"`data.{key}` {shown(expected)}", shown(packet)
        )
    stage.send(*stage.manners.answer(packet))


@case(
    "seed",
    ["R-JSON-10"],
    "every packet has a string `action` and its keys, of the right types, in an object `data`",
)
def packets_are_whole(stage: Stage) -> None:
    converse(stage)
    stage.no_remarks("R-JSON-10")


@case(
    "seed",
    ["R-JSON-12"],
    "keys are spelled as in the packet: `chatid` in chat packets, `chat_id` in file packets",
)
def keys_keep_their_spelling(stage: Stage) -> None:
    converse(stage)
    stage.no_remarks("R-JSON-12")


@case("seed", ["R-SESS-7"], "every request that has the key names the session's user")
def names_itself(stage: Stage) -> None:
    converse(stage)
    stage.no_remarks("R-SESS-7")


@case("seed", ["R-MSG-19"], "an `ack` of the client has `status` beside `data`")
def acks_have_a_status(stage: Stage) -> None:
    converse(stage)
    stage.no_remarks("R-MSG-19")


# --- Sending a message ----------------------------------------------------------------------------


@case(
    "seed",
    ["R-MSG-3"],
    "what is typed is sent, and counts that agree are confirmed, message after message",
)
def confirms_counts_that_agree(stage: Stage) -> None:
    stage.log_in()
    for _ in range(2):
        message = open_message(stage, f"{stage.text()}, Aa a!")
        packet = count_message(stage, message)
        stage.check(
            value(packet, "confirm") is True,
            "`confirm` true, since the counts agree",
            shown(packet),
        )
        stage.send(*stage.manners.answer(packet))


def wrong_counts(text: str) -> list[tuple[str, dict[str, int]]]:
    """Counts that are not those of a text which has an `A` and two `a`, and in what they differ."""
    right = letters(text)
    return [
        ("one `a` less", {**right, "a": right["a"] - 1}),
        ("one `a` more", {**right, "a": right["a"] + 1}),
        ("no `a` at all", {key: count for key, count in right.items() if key != "a"}),
        ("a `Q` that is not there", {**right, "Q": 1}),
        ("no blanks", {key: count for key, count in right.items() if key != " "}),
        (
            "`A` counted as `a`",
            {
                key: count + (right["A"] if key == "a" else 0)
                for key, count in right.items()
                if key != "A"
            },
        ),
    ]


@case(
    "seed",
    ["R-MSG-3"],
    "counts that differ are answered with `confirm` false, and the talk goes on",
)
def refuses_counts_that_differ(stage: Stage) -> None:
    stage.log_in()
    kinds = len(wrong_counts("A aa"))
    for kind in range(kinds):
        text = f"A {stage.text()} aa"
        message = open_message(stage, text)
        words, counts = wrong_counts(text)[kind]
        packet = count_message(stage, message, counts)
        stage.check(
            value(packet, "confirm") is False,
            f"`confirm` false, since the server counted {words}",
            shown(packet),
        )
        stage.send(*stage.manners.answer(packet))
    stage.fence()


@case(
    "seed",
    ["R-MSG-1", "R-FRAME-1"],
    "every code point of a sent text counts: accents, other scripts, emoji",
)
def counts_code_points_of_its_own(stage: Stage) -> None:
    stage.log_in()
    for text in (
        f"Zoë {stage.text(1)} naïve",
        f"e\u0301 and é {stage.text(1)}",
        f"{stage.text(1)} 👍👍🏽 日本語 Привет",
    ):
        with stage.given("a message that is sent"):
            message = open_message(stage, text)
        packet = count_message(stage, message)
        stage.check(
            value(packet, "confirm") is True,
            f"`confirm` true for the counts of {text}: {shown(letters(text))}",
            shown(packet),
        )
        stage.send(*stage.manners.answer(packet))


@case(
    "seed",
    ["R-ERR-7"],
    "a message that the server answers with `error` ends nothing: the next one goes out",
)
def lives_on_after_an_error(stage: Stage) -> None:
    stage.log_in()
    with stage.given("a message that is sent"):
        message = open_message(stage, stage.text())
    stage.send(stage.manners.error(message, "room_not_found", "There is no such room."))
    stage.fence()


# --- Receiving a message --------------------------------------------------------------------------


@case("seed", ["R-MSG-16"], "a message is answered with the counts of its letters")
def counts_what_it_receives(stage: Stage) -> None:
    stage.log_in()
    for content in (f"{stage.text()}, Aa a!", stage.text(1)):
        message = stage.manners.message(content)
        stage.send(message)
        packet = hear_counts(stage, message)
        check_counts(stage, packet, content)
        stage.send(*stage.manners.answer(packet))


@case(
    "seed",
    ["R-MSG-1"],
    "every code point of a received text counts: case, blanks, accents, emoji, joined emoji",
)
def counts_code_points_of_others(stage: Stage) -> None:
    stage.log_in()
    for content in (
        "Hello",
        "a  b!",
        "👍👍🏽",
        "e\u0301 é",
        "👩\u200d💻",
        f"Zoë {stage.text(1)} 日本語",
    ):
        message = stage.manners.message(content)
        stage.send(message)
        with stage.given("`character_count` for a received message"):
            packet = hear_counts(stage, message)
        check_counts(stage, packet, content)
        stage.send(*stage.manners.answer(packet))


@case(
    "seed",
    ["R-MSG-17"],
    "counts that the server confirms are followed by `ack` with `status` success",
)
def acknowledges(stage: Stage) -> None:
    stage.log_in()
    message = stage.manners.message(stage.text())
    stage.send(message)
    with stage.given("`character_count` for a received message"):
        hear_counts(stage, message)
    packet = confirm(stage, message, True)
    stage.check(packet.get("status") == "success", '`status` "success"', shown(packet))


@case(
    "seed",
    ["R-MSG-18"],
    "counts that the server does not confirm are followed by `ack` with `status` error, and the copy that comes is counted anew",
)
def acknowledges_a_failure(stage: Stage) -> None:
    stage.log_in()
    content = stage.text()
    message = stage.manners.message(content)
    stage.send(message)
    with stage.given("`character_count` for a received message"):
        hear_counts(stage, message)
    packet = confirm(stage, message, False)
    stage.check(packet.get("status") == "error", '`status` "error"', shown(packet))
    stage.send(stage.manners.copy(message["data"]["transaction_id"], content))
    hear_counts(stage, message)


def _answers_all(stage: Stage, count: int, together: bool) -> None:
    messages = [stage.manners.message(f"{stage.text(1)}{number}") for number in range(count)]
    if together:
        assert stage.peer is not None
        stage.peer.send(*messages)
    else:
        stage.send(*messages)
    keys = {message["data"]["transaction_id"] for message in messages}
    stage.settle(
        lambda: keys <= stage.manners.counted,
        f"`character_count` for all of {count} messages",
        lambda: f"{len(keys - stage.manners.counted)} were not counted",
    )
    with stage.rule("R-MSG-17"):
        stage.settle(
            lambda: keys <= stage.manners.acks.keys(),
            f"`ack` for all of {count} messages",
            lambda: f"{len(keys - stage.manners.acks.keys())} were not acknowledged",
        )


@case(
    "seed",
    ["R-MSG-16", "R-MSG-17"],
    f"{MANY} messages that come without a pause are all counted and acknowledged",
)
def answers_many_messages(stage: Stage) -> None:
    stage.log_in()
    _answers_all(stage, MANY, together=False)


@case("seed", ["R-ORDER-8"], "messages of others may come in the middle of one's own handshake")
def takes_messages_between_replies(stage: Stage) -> None:
    sound(stage)
    first, second = stage.manners.message(stage.text(1)), stage.manners.message(stage.text(1))
    mine = open_message(stage, stage.text(1))
    stage.send(first, stage.manners.counts(mine))
    keys = [key for key, sent in stage.manners.sent.items() if sent is mine]
    packet = stage.expect(
        "confirm_count",
        where=lambda each: key_of(each) in keys,
        what="`confirm_count` for its own message",
    )
    stage.send(second, *stage.manners.answer(packet))
    both = [message["data"]["transaction_id"] for message in (first, second)]
    stage.settle(
        lambda: all(key in stage.manners.acks for key in both),
        "an `ack` for each message that came in between",
    )
    stage.fence()


@case("seed", ["R-JSON-13"], "keys that the client does not know are ignored")
def ignores_unknown_keys(stage: Stage) -> None:
    sound(stage)
    mine = open_message(stage, stage.text(1))
    reply = with_more_keys(stage.manners.counts(mine))
    stage.send(reply)
    packet = stage.expect(
        "confirm_count", where=lambda each: key_of(each) == reply["data"]["transaction_id"]
    )
    stage.check(
        value(packet, "confirm") is True,
        "`confirm` true: the keys beside the counts mean nothing",
        shown(packet),
    )
    stage.send(*(with_more_keys(each) for each in stage.manners.answer(packet)))
    message = with_more_keys(stage.manners.message(stage.text(1)))
    stage.send(message)
    packet = hear_counts(stage, message)
    check_counts(stage, packet, message["data"]["content"])
    stage.send(with_more_keys(stage.manners.confirmation(message["data"]["transaction_id"], True)))
    stage.expect("ack", where=lambda each: key_of(each) == message["data"]["transaction_id"])


def with_more_keys(packet: Packet) -> Packet:
    """The packet, with keys that nobody knows in it and in its `data`."""
    more: dict[str, Any] = {"x_colour": "blue", "x_list": [1, {"deep": None}], "x_flag": False}
    return {
        "x_first": 1,
        **packet,
        **more,
        "data": {"x_first": [], **packet.get("data", {}), **more},
    }


# --- Files ----------------------------------------------------------------------------------------

TWO_CHUNKS: Final = 300_000
"""More than one chunk may hold, so that every client needs several."""


@case("seed", ["R-FILE-1"], "a file is sent whole: init, every chunk, fin")
def sends_a_file(stage: Stage) -> None:
    stage.log_in()
    done, content, _ = upload(stage, TWO_CHUNKS)
    came = done.content()
    stage.check(
        came == content,
        f"the {len(content)} bytes of the file",
        f"{len(came)} bytes, which are not those of the file",
    )


@case("seed", ["R-FILE-2"], "chunks are numbered from 1 (or from 0, in all of an upload)")
def numbers_chunks(stage: Stage) -> None:
    stage.log_in()
    with stage.given("an upload"):
        done, _, _ = upload(stage, TWO_CHUNKS)
    first = done.numbers[0] if done.numbers else 1
    expected = list(range(first, first + len(set(done.numbers))))
    stage.check(first in (0, 1), "`sequence_number` 1 (or 0) for the first chunk", f"it is {first}")
    stage.check(
        sorted(set(done.numbers)) == expected,
        f"the numbers {first} to {expected[-1]}",
        f"the numbers {done.numbers[:20]}",
    )


@case("seed", ["R-FILE-3"], "all chunks but the last have one size, at most 262,144 bytes")
def keeps_one_chunk_size(stage: Stage) -> None:
    stage.log_in()
    with stage.given("an upload"):
        done, _, _ = upload(stage, TWO_CHUNKS)
    sizes = [len(done.chunks[number]) for number in sorted(done.chunks)]
    stage.check(
        len(set(sizes[:-1])) <= 1 and all(size <= sizes[0] for size in sizes),
        "chunks of one size, the last at most as large",
        f"chunks of {sizes[:20]} bytes",
    )
    stage.check(
        max(sizes, default=0) <= 262_144,
        "at most 262,144 bytes in a chunk",
        f"a chunk of {max(sizes, default=0)} bytes",
    )


@case("seed", ["R-FILE-4"], "`file_size` and `total_packets` fit the chunks, in init and fin")
def tells_the_right_numbers(stage: Stage) -> None:
    stage.log_in()
    with stage.given("an upload"):
        done, content, chunks = upload(stage, TWO_CHUNKS)
    stage.check(
        done.size == len(content), f"`file_size` {len(content)}", f"it is {shown(done.size)}"
    )
    count = len(
        {
            value(chunk, "sequence_number")
            for chunk in chunks
            if isinstance(value(chunk, "sequence_number"), int)
        }
    )
    stage.check(
        done.total == count,
        f"`total_packets` {count} in `file_send_init`, as many as chunks came",
        f"it is {shown(done.total)}",
    )
    stage.check(
        done.announced == count,
        f"`total_packets` {count} in `file_send_fin`",
        f"it is {shown(done.announced)}",
    )


@case("seed", ["R-FILE-5"], "chunks are base64 with padding and without line breaks")
def sends_base64(stage: Stage) -> None:
    stage.log_in()
    chunks: list[Packet] = []
    with stage.given("an upload"):
        _, _, chunks = upload(stage, 10_000)
    for chunk in chunks:
        text = value(chunk, "file_data")
        try:
            decoded = base64.b64decode(text.encode("ascii"), validate=True)
            right = base64.b64encode(decoded).decode() == text
        except (binascii.Error, ValueError, AttributeError):
            right = False
        stage.check(right, "`file_data` in base64 (RFC 4648, section 4)", shown(chunk))


@case("seed", ["R-FILE-7"], "an empty file is sent without a data packet")
def sends_an_empty_file(stage: Stage) -> None:
    stage.log_in()
    done, _, chunks = upload(stage, 0)
    stage.check(
        not chunks, "no `file_send_data`", f"{len(chunks)} of them, the first {shown(chunks[:1])}"
    )
    stage.check(
        (done.size, done.total) == (0, 0),
        "`file_size` 0 and `total_packets` 0",
        f"{shown(done.size)} and {shown(done.total)}",
    )


@case("seed", ["R-FILE-19"], "a file of several chunks is fetched and lies on disk as it was sent")
def fetches_a_file(stage: Stage) -> None:
    stage.log_in()
    download(stage, stage.content(20_000))


# --- Extensions -----------------------------------------------------------------------------------


@case(
    "full",
    ["R-JSON-14"],
    "a `request_id`, where the client sends any, is text of 1 to 64 characters",
)
def request_ids_are_text(stage: Stage) -> None:
    converse(stage)
    stage.no_remarks("R-JSON-14")


@case(
    "full",
    ["R-EVT-3"],
    "events are taken by who asked for them, unknown types and unknown keys too",
)
def takes_events(stage: Stage) -> None:
    sound(stage, hears=False)
    if "events" not in stage.manners.features:
        stage.not_offered(
            'a login with `features` that hold "events"', "the client did not ask for them"
        )
    room = stage.setting.driver.room
    for data in (
        {"type": "user_online", "chatid": stage.other},
        {"type": "x_comet_seen", "x_tail": [1, 2]},
        {"type": "room_renamed", "room_id": room, "name": room},
        {"type": "user_offline", "chatid": stage.other},
    ):
        stage.send({"action": "event", "data": data})
    stage.fence()


@case("full", ["R-SESS-8"], "a client that lost its connection comes back, and the talk goes on")
def comes_back(stage: Stage) -> None:
    sound(stage)
    come_back(stage)
    stage.fence()
    hear_one(stage, stage.text(1))


def come_back(stage: Stage) -> None:
    """Close the connection, and log the client in again where it comes back."""
    assert stage.peer is not None
    stage.peer.close()
    if stage.expect_connection(RECONNECT_SECONDS) is None:
        stage.not_offered("that the client comes back by itself", "it did not, and need not")
    packet = stage.expect("login")
    replies = stage.manners.answer(packet)
    stage.send(*replies)
    stage.check(
        replies[0]["action"] == "login_success",
        "a login with the session key or the password",
        shown(packet),
    )


@case(
    "full",
    ["R-MSG-8"],
    "a message whose ack was lost goes out again with the same key, where the client makes keys",
)
def repeats_with_the_same_key(stage: Stage) -> None:
    stage.log_in()
    text = stage.text()
    with stage.given("a message that is sent"):
        mine = open_message(stage, text)
    key = key_of(mine)
    if not key:
        stage.not_offered(
            "`transaction_id` in `send_message`", "the client makes no keys of its own"
        )
    stage.check(len(key) <= 64, "a key of 1 to 64 characters", shown(mine))
    packet = count_message(stage, mine)
    stage.manners.answer(packet)  # stored, but the ack is lost
    come_back(stage)
    again = stage.expect(
        "send_message",
        where=lambda each: said(each, text),
        what="`send_message` of the same text once more",
    )
    stage.check(key_of(again) == key, f"the same `transaction_id` {key}", shown(again))
    stage.send(*stage.manners.answer(again))
    stage.fence()


@case(
    "full",
    ["R-FILE-15"],
    "an upload that the server has a part of is continued with the chunks that it lacks",
)
def continues_an_upload(stage: Stage) -> None:
    stage.log_in()
    with stage.given("an upload in which everything is right"):
        done, content, _ = upload(stage, TWO_CHUNKS)
        stage.check(
            done.content() == content and done.total == len(done.chunks) and min(done.chunks) < 2,
            "the whole file",
            "another",
        )
    path = stage.make_file(TWO_CHUNKS)
    stage.type_line(stage.setting.driver.send, file=str(path), name=path.name)
    init = stage.expect("file_send_init")
    total = value(init, "total_packets")
    stage.check(isinstance(total, int) and total > 1, "`total_packets` over 1", shown(init))
    replies = stage.manners.answer(init)
    replies[0]["data"]["received"] = [[1, total - 1]]
    stage.send(*replies)
    numbers: list[Any] = []
    while True:
        packet = stage.expect(
            "file_send_data", "file_send_fin", what="`file_send_data` or `file_send_fin`"
        )
        stage.send(*stage.manners.answer(packet))
        if packet["action"] == "file_send_fin":
            break
        numbers.append(value(packet, "sequence_number"))
    if len(numbers) >= total:
        stage.not_offered(
            f"only chunk {total} of {total}, which the server lacked",
            "all were sent again, which is allowed",
        )
    stage.check(
        numbers == [total],
        f"chunk {total}, the only one that the server lacked",
        f"the chunks {numbers[:20]}",
    )


@case(
    "full",
    ["R-FILE-20", "R-ORDER-8"],
    "messages that pass between the chunks of a download are answered",
)
def chats_while_fetching(stage: Stage) -> None:
    sound(stage, sends=False)
    content = stage.content(20_000)
    name = ask_for_file(stage, content)
    with stage.given("`file_down_req`"):
        packet = stage.expect("file_down_req", where=lambda each: value(each, "file_path") == name)
    meta, first, *rest = stage.manners.answer(packet)
    message = stage.manners.message(stage.text(1))
    stage.send(meta, first, message)
    counts = hear_counts(stage, message)
    check_counts(stage, counts, message["data"]["content"])
    stage.send(rest[0], *stage.manners.answer(counts), *rest[1:])
    key = message["data"]["transaction_id"]
    stage.settle(lambda: key in stage.manners.acks, f"`ack` for transaction {key}")


# --- Robust ---------------------------------------------------------------------------------------


@case(
    "robust",
    ["R-FRAME-2"],
    "frames are understood in small pieces: the length byte by byte, the text cut anywhere",
)
def understands_pieces(stage: Stage) -> None:
    content = f"{stage.text(1)} 👍🏽 ëëë 日本語"
    sound(stage, content)
    stage.deliver = deliver_in_pieces
    hear_one(stage, content)
    message = stage.manners.message(content)
    assert stage.peer is not None
    stage.peer.send_bytewise(message)
    check_counts(stage, hear_counts(stage, message), content)
    stage.fence()


@case("robust", ["R-FRAME-2"], "the very first frames are understood in small pieces, too")
def logs_in_by_pieces(stage: Stage) -> None:
    stage.deliver = deliver_in_pieces
    stage.log_in()
    stage.fence()


@case(
    "robust",
    ["R-FRAME-2"],
    "frames are understood when several come in one piece, and the last of them only in half",
)
def understands_joined_frames(stage: Stage) -> None:
    sound(stage)
    stage.deliver = deliver_together
    messages = [stage.manners.message(stage.text(1)) for _ in range(5)]
    assert stage.peer is not None
    stage.peer.send_cut(messages, 40)
    keys = [message["data"]["transaction_id"] for message in messages]
    stage.settle(
        lambda: all(key in stage.manners.acks for key in keys),
        "an `ack` for each of 5 messages that came in one piece",
    )
    stage.fence()


@case(
    "robust",
    ["R-MSG-16", "R-MSG-17"],
    f"{VERY_MANY} messages in one piece are all counted and acknowledged",
)
def answers_very_many_messages(stage: Stage) -> None:
    stage.log_in()
    _answers_all(stage, VERY_MANY, together=True)


@case("robust", ["R-MSG-13"], "a message of 16 KiB is counted like any other")
def counts_a_long_message(stage: Stage) -> None:
    content = "".join(stage.text(1) for _ in range(2_000))[:16_384]
    sound(stage, content[-100:], sends=False)
    message = stage.manners.message(content)
    stage.send(message)
    check_counts(stage, hear_counts(stage, message), content)


@case(
    "robust",
    ["R-MSG-1"],
    "control characters, line ends, quotes and invisible characters count like all others",
)
def counts_strange_characters(stage: Stage) -> None:
    stage.log_in()
    for content in (
        "\x1b[2J\x1b[31mred\x07",
        'quote " and \\ and / \b\t',
        "line\nline\r\nend\n",
        "\u202eabc\u200b\u2028\ufeff",
        " ",
        "\ud7ff\ue000\uffff\U0010ffff",
    ):
        message = stage.manners.message(content)
        stage.send(message)
        with stage.given("`character_count` for a received message"):
            packet = hear_counts(stage, message)
        check_counts(stage, packet, content)
        stage.send(*stage.manners.answer(packet))


@case("robust", ["R-FRAME-3"], "a frame as large as a chunk of 262,144 bytes needs is taken")
def takes_large_frames(stage: Stage) -> None:
    stage.log_in()
    with stage.given("a file of several chunks that is fetched"):
        download(stage, stage.content(10_000))
    stage.manners.chunk_bytes = 262_144
    download(stage, stage.content(TWO_CHUNKS))


@case("robust", ["R-FILE-7"], "an empty file is fetched: it lies there, empty")
def fetches_an_empty_file(stage: Stage) -> None:
    stage.log_in()
    with stage.given("a small file that is fetched"):
        download(stage, stage.content(100))
    download(stage, b"")
