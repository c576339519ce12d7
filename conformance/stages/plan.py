"""The stages of a server, from its first frame to a kill without a loss, and the cases of each.

Pure. The stages cover the level `seed`; what comes after them is `--level full` and `robust`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final


@dataclass(frozen=True)
class Stage:
    """One stage: `goal` in one sentence, `minutes` that it takes a beginner, `cases` as globs of
    ids. `packets` are the actions that it shows by example: those that are new in it."""

    word: str
    goal: str
    minutes: int
    cases: tuple[str, ...]
    packets: tuple[str, ...] = ()


STAGES: Final[Sequence[Stage]] = (
    Stage(
        "frame",
        "Answer anything at all, with a frame: four bytes of length, then JSON.",
        30,
        ("contact.answers_with_a_frame",),
        ("error",),
    ),
    Stage(
        "login",
        "Let people in by name and password, and nobody else.",
        30,
        (
            "sessions.login",
            "sessions.keys_differ",
            "sessions.wrong_password",
            "sessions.unknown_name",
            "sessions.login_after_fail",
            "sessions.second_login",
            "sessions.place_comes_free*",
        ),
        ("login", "register"),
    ),
    Stage(
        "count",
        "Answer `send_message` with the counts of its letters.",
        45,
        ("messages.counts", "messages.counts_unicode", "messages.opens_a_transaction"),
        ("send_message",),
    ),
    Stage(
        "store",
        "Store a message once it is confirmed, and show it in the history.",
        45,
        (
            "messages.ack",
            "messages.stored_once",
            "history.messages_of_a_room",
            "history.from_a_time_on",
            "texts.many_equal_letters",
        ),
        ("confirm_count", "get_messages"),
    ),
    Stage(
        "deliver",
        "Bring a message to everybody else who is on, in one order for all.",
        45,
        (
            "messages.nothing_before_confirm",
            "messages.reaches_the_others",
            "messages.not_confirmed",
            "framing.length_in_bytes",
            "messages.blanks_arrive",
            "messages.not_to_its_sender",
            "rooms.open_room_reaches_everybody",
            "rooms.a_message_makes_a_room",
            "order.one_order",
            "privacy.nothing_again_at_login",
        ),
        ("receive_message",),
    ),
    Stage(
        "answer",
        "Take the receivers' counts and acks, and send again what came wrong.",
        60,
        (
            "messages.same_t2",
            "messages.answered_later",
            "messages.right_counts",
            "messages.wrong_counts",
            "messages.counts_back_unicode",
            "messages.ack_has_no_reply",
            "messages.comes_again",
            "messages.at_most_three_times",
            "messages.never_answers",
            "races.answered_after_a_hundred",
        ),
        ("character_count", "ack"),
    ),
    Stage(
        "refuse",
        "Answer what is wrong with `error`, change nothing, and live on.",
        45,
        (
            "contact.lives_after_an_error",
            "json_errors.an_error_of_the_24",
            "json_errors.no_message_before_login",
            "sessions.login_twice_here",
            "sessions.anothers_name",
            "messages.unknown_transaction",
            "messages.confirmed_twice",
            "messages.anothers_transaction",
            "messages.answers_for_nothing",
            "messages.no_answer_to_oneself",
            "messages.empty_message",
        ),
        ("error",),
    ),
    Stage(
        "pieces",
        "Read frames however the network cuts them, and every way to write JSON.",
        45,
        (
            "framing.other_ways_to_write_json",
            "framing.split_anywhere",
            "framing.joined",
            "texts.escapes",
            "texts.ids_that_look_alike",
            "texts.awkward_texts_stay",
            "texts.awkward_texts_arrive",
            "texts.long_history",
        ),
    ),
    Stage(
        "order",
        "Answer each client in its order, two at once, with the time in UTC.",
        30,
        (
            "order.timestamps",
            "clock.utc",
            "order.replies_in_order",
            "order.acks_in_order",
            "order.two_at_once",
        ),
    ),
    Stage(
        "upload",
        "Take a file in chunks, and tell the room when it is whole.",
        90,
        (
            "files.each_chunk_is_answered",
            "files.everybody_is_told",
            "files.list_of_names",
            "rooms.a_file_makes_a_room",
        ),
        ("file_send_init", "file_send_data", "file_send_fin", "file_list_req", "receive_file"),
    ),
    Stage(
        "download",
        "Give a file back as it came, in numbered chunks.",
        45,
        (
            "files.there_and_back",
            "files.incomplete",
            "json_errors.status_and_message",
            "files.one_chunk_at_a_time",
            "files.counted_from_zero",
            "files.any_order",
            "files.empty_file",
            "files.many_chunks",
            "files.multiple_of_the_chunk",
            "files.no_such_file",
            "files.numbered_from_one",
            "order.download_in_order",
        ),
        ("file_down_req", "file_down_meta", "file_down_data", "file_down_fin"),
    ),
    Stage(
        "keep",
        "Keep what was acknowledged, whenever the server is killed. Write {data} behind {port} in "
        "--start-cmd: your server gets a folder there, as an argument, that stays.",
        60,
        ("restart.acked_messages", "restart.finished_files", "restart.three_kills"),
    ),
)


def by_stage(ids: Sequence[str]) -> list[list[str]]:
    """Return for each stage those of these cases that it looks at first."""
    found, left = [], list(ids)
    for stage in STAGES:
        own = [case for case in left if any(fnmatchcase(case, glob) for glob in stage.cases)]
        left = [case for case in left if case not in own]
        found.append(own)
    return found


def cases_of(number: int, ids: Sequence[str]) -> list[str]:
    """Return those of these cases that stage `number` (from 1) looks at first."""
    return by_stage(ids)[number - 1]
