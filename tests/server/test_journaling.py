"""`JournalKeeper`: the journal follows the database, and one file that can't be written holds up
nobody but itself."""

from __future__ import annotations

import itertools
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.state.recent_messages import delivered
from server.writing import journaling
from server.writing.journaling import LONGEST_PAUSE_SECONDS, ROWS_AT_ONCE, JournalKeeper
from storage import accounts, messages, rooms
from storage.database import Database
from storage.journal import Journal

DAY = 20_000
MIDDAY = DAY * 86_400 + 43_200


class House:
    """A database, a journal, a clock that stands still, and the writer's way of using them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "journal"
        self.folder.mkdir()
        self.now = 0.0
        self.database = Database(folder / "chat.db", readers=1)
        with self.database.transaction() as connection:
            accounts.create(connection, "ann", "ann", "record", 1)
            for name in ("second", "third"):
                rooms.create_open(connection, name, 1, 1)  # pk 2 and 3
        self.start()

    def start(self) -> None:
        """Begin as after a crash: nothing in memory."""
        self.keeper = JournalKeeper(self.database, Journal(self.folder), lambda: self.now)
        self.keeper.repair()

    def say(self, *said: tuple[int, str], at: int = MIDDAY) -> None:
        """Commit messages (room, content) together, then append them as the delivery does."""
        frames: dict[tuple[int, int], list[bytes]] = {}
        stored = []
        with self.database.transaction() as connection:
            for room_pk, content in said:
                number = messages.insert(connection, room_pk, 1, content, at, at, None)
                stored.append(messages.Message(number, room_pk, 1, "ann", content, at))
                at += 1
        for message in stored:
            self.keeper.reached("message", message.id)
            frame = delivered(("lobby", "second", "third")[message.room_pk - 1], message, {}).frame
            frames.setdefault((message.room_pk, message.sent_at // 86_400), []).append(frame)
        for (room_pk, day), parts in frames.items():
            self.keeper.append(room_pk, day, b"".join(parts))

    def look(self, seconds: float = 0.0) -> None:
        """Let time pass, then do what the writer does between commits."""
        self.now += seconds
        with self.database.transaction() as connection:
            self.keeper.save_position(connection, is_idle=True)
            self.keeper.catch_up(connection)

    def kept(self, room_pk: int) -> list[str]:
        """What the journal has of a room."""
        journal = Journal(self.folder)
        paths = [path for pk, _, path in journal.days() if pk == room_pk]
        payloads = [payload for path in paths for payload in journal.read(path)]
        return [json.loads(payload)["data"]["content"] for payload in payloads]

    def block(self, room_pk: int) -> Path:
        """Put a file where the room's folder belongs."""
        path = self.folder / f"room-{room_pk:06d}"
        path.write_text("in the way")
        return path


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    yield made
    made.keeper.close()
    made.database.close()


def test_a_file_that_cannot_be_written_holds_up_no_other_room(house: House) -> None:
    in_the_way = house.block(2)
    house.say((1, "a"), (2, "b"), (3, "c"))
    house.say((1, "d"), (2, "e"))
    assert (house.kept(1), house.kept(3)) == (["a", "d"], ["c"])
    in_the_way.unlink()
    house.look(1.0)
    assert house.kept(2) == ["b", "e"]
    house.say((2, "f"))
    assert house.kept(2) == ["b", "e", "f"]


def test_a_failing_file_is_tried_again_after_growing_pauses_and_told_once(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    house.block(2)
    house.say((2, "a"))
    tries = []
    for second in range(600):
        house.now += 1.0
        if house.keeper.is_due:
            tries.append(second)
        house.look()
    gaps = [later - earlier for earlier, later in itertools.pairwise(tries)]
    assert gaps[:4] == [2, 4, 8, 16]
    assert max(gaps) <= LONGEST_PAUSE_SECONDS and len(tries) < 16
    lines = [each.message for each in caplog.records if each.levelno >= logging.WARNING]
    assert len(lines) == 1 and "journal" in lines[0]


def test_a_long_backlog_is_added_piece_by_piece(house: House) -> None:
    in_the_way = house.block(2)
    said = [f"m{number}" for number in range(2 * ROWS_AT_ONCE + 5)]
    house.say(*((2, content) for content in said))
    in_the_way.unlink()
    house.look(1.0)
    assert house.kept(2) == said[:ROWS_AT_ONCE]
    for _ in range(3):
        house.look()
    assert house.kept(2) == said
    assert not house.keeper.is_due


def test_a_day_that_was_written_before_the_failure_is_not_written_twice(house: House) -> None:
    house.say((2, "before"))
    midnight = (DAY + 1) * 86_400
    blocked = house.folder / "room-000002" / "2024-10-05.frames"
    blocked.mkdir()
    house.say((2, "old day"), (2, "new day"), at=midnight - 1)
    blocked.rmdir()
    house.look(1.0)
    assert house.kept(2) == ["before", "old day", "new day"]


def test_what_a_room_lacks_is_remembered_over_a_restart(house: House) -> None:
    in_the_way = house.block(2)
    house.say((2, "a"))
    house.look()
    house.say((1, "b"))
    house.look()
    house.keeper.close()
    house.start()  # still in the way
    assert house.kept(1) == ["b"]
    in_the_way.unlink()
    house.say((1, "c"))
    house.look(60.0)
    assert (house.kept(2), house.kept(1)) == (["a"], ["b", "c"])
    house.look()
    house.keeper.close()
    house.start()
    assert (house.kept(2), house.kept(1)) == (["a"], ["b", "c"])


def test_what_a_crash_kept_from_the_journal_is_added_at_the_start(house: House) -> None:
    house.say((1, "a"))
    house.look()
    for path in house.folder.glob("*/*"):
        path.write_bytes(path.read_bytes() + b"\0\0\1")  # half a frame
    with house.database.transaction() as connection:
        messages.insert(connection, 1, 1, "b", MIDDAY, MIDDAY, None)
    house.keeper.close()
    house.start()
    assert house.kept(1) == ["a", "b"]


def test_short_lives_one_after_another_write_nothing_twice(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journaling, "TAIL_BYTES", 1)  # the end holds one frame, as at any bound
    said = [f"m{number}" for number in range(4)]
    for content in said:
        house.say((1, content))
        house.start()
    assert house.kept(1) == said


def test_what_was_there_at_the_start_is_not_written_again_after_a_first_failure(
    house: House,
) -> None:
    """The stored position may lag behind what the journal has: under load it is stored late."""
    house.say((2, "a"), (2, "b"))  # its position is never stored
    house.keeper.close()
    house.start()
    blocked = house.folder / "room-000002" / "2024-10-05.frames"
    blocked.mkdir()
    house.say((2, "c"), at=(DAY + 1) * 86_400)
    blocked.rmdir()
    house.look(1.0)
    assert house.kept(2) == ["a", "b", "c"]


def test_a_message_that_is_hidden_stands_there_once_as_it_was_received(house: House) -> None:
    house.say((1, "rude"))
    with house.database.transaction() as connection:
        messages.set_hidden(connection, 1, 1)
    house.keeper.close()
    house.start()  # before the position was stored
    assert house.kept(1) == ["rude"]
    blocked = house.block(2)
    house.say((2, "rude, too"))
    with house.database.transaction() as connection:
        messages.set_hidden(connection, 2, 1)
    blocked.unlink()
    house.look(1.0)
    assert house.kept(2) == ["rude, too"]
