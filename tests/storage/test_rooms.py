"""`storage.rooms`: who belongs to which room, who sees it, and how much is unread."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from storage import accounts, messages, rooms
from storage.database import Database
from storage.errors import NameTaken


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database(tmp_path / "chat.db", readers=1)
    with opened.transaction() as connection:
        for name in ("ann", "bob", "cat", "Dan"):  # ids 1 to 4
            accounts.create(connection, name, name.lower(), "record", 1)
    yield opened
    opened.close()


ANN, BOB, CAT, DAN = 1, 2, 3, 4


def test_a_room_is_found_by_either_of_its_names(database: Database) -> None:
    with database.transaction() as connection:
        made = rooms.create_open(connection, "Math", ANN, 5)
        assert made == rooms.Room(made.pk, "Math", "Math", None, False, False)
        assert rooms.find(connection, "Math") == made == rooms.by_pk(connection, made.pk)
        assert rooms.find(connection, "math") is None
        assert rooms.by_pk(connection, 99) is None


def test_a_room_is_found_for_whom_it_exists(database: Database) -> None:
    with database.transaction() as connection:
        everybodys = rooms.create_open(connection, "math", ANN, 5)
        team = rooms.create_private(connection, "p-1", "Team", ANN, [BOB], 5)
        rooms.depart(connection, everybodys.pk, CAT)
        assert rooms.find_for(connection, "math", CAT) == everybodys, "who left it may read it"
        for account_id, found in ((ANN, team), (BOB, team), (CAT, None)):
            assert rooms.find_for(connection, "p-1", account_id) == found
        rooms.remove_member(connection, team.pk, BOB)
        assert rooms.find_for(connection, "p-1", BOB) is None
        rooms.mark_deleted(connection, team.pk, 6)
        rooms.mark_deleted(connection, everybodys.pk, 6)
        assert rooms.find_for(connection, "p-1", ANN) is None
        assert rooms.find_for(connection, "math", ANN) is None
        assert rooms.find_for(connection, "never", ANN) is None


def test_a_room_id_is_given_once_even_after_deletion(database: Database) -> None:
    with database.transaction() as connection:
        made = rooms.create_open(connection, "math", ANN, 5)
        rooms.mark_deleted(connection, made.pk, 6)
        with pytest.raises(NameTaken):
            rooms.create_open(connection, "math", BOB, 7)
        with pytest.raises(NameTaken):
            rooms.create_private(connection, "math", "x", BOB, [], 7)
        found = rooms.find(connection, "math")
        assert found is not None and found.deleted
        rooms.restore(connection, made.pk)
        assert rooms.find(connection, "math") == made


def test_a_private_room_has_its_owner_and_the_chosen_members(database: Database) -> None:
    with database.transaction() as connection:
        room = rooms.create_private(connection, "p-1", "Plans", ANN, [BOB, ANN], 5)
        assert (room.name, room.owner, room.private) == ("Plans", ANN, True)
        assert rooms.member_ids(connection, room.pk) == {ANN, BOB}
        rooms.add_member(connection, room.pk, DAN)
        rooms.add_member(connection, room.pk, DAN)
        assert list(rooms.member_chatids(connection, room, None, 10)) == ["Dan", "ann", "bob"]
        assert list(rooms.member_chatids(connection, room, "Dan", 1)) == ["ann"]
        rooms.remove_member(connection, room.pk, BOB)
        rooms.remove_member(connection, room.pk, BOB)
        accounts.mark_deleted(connection, DAN, 9)
        assert rooms.member_ids(connection, room.pk) == {ANN}
        assert list(rooms.member_chatids(connection, room, None, 10)) == ["ann"]


def test_everybody_belongs_to_an_open_room_but_who_left(database: Database) -> None:
    with database.transaction() as connection:
        room = rooms.create_open(connection, "math", None, 5)
        for account in (BOB, BOB, CAT):
            rooms.depart(connection, room.pk, account)
        assert rooms.departed_ids(connection, room.pk) == {BOB, CAT}
        assert list(rooms.member_chatids(connection, room, None, 10)) == ["Dan", "ann"]
        accounts.mark_deleted(connection, CAT, 9)
        assert list(rooms.member_chatids(connection, room, None, 10)) == ["Dan", "ann"]
        rooms.rejoin(connection, room.pk, BOB)
        rooms.rejoin(connection, room.pk, BOB)
        assert list(rooms.member_chatids(connection, room, "ann", 10)) == ["bob"]


def test_one_sees_open_rooms_and_ones_own_private_ones_in_the_order_of_ids(
    database: Database,
) -> None:
    with database.transaction() as connection:
        rooms.create_open(connection, "zoo", ANN, 5)
        gone = rooms.create_open(connection, "gone", ANN, 5)
        mine = rooms.create_private(connection, "p-mine", "a", ANN, [BOB], 5)
        rooms.create_private(connection, "p-theirs", "b", BOB, [CAT], 5)
        rooms.mark_deleted(connection, gone.pk, 6)
        rooms.depart(connection, 1, ANN)

        def seen(account: int, after: str | None = None, limit: int = 10) -> list[str]:
            return [room.room_id for room in rooms.visible(connection, account, after, limit)]

        assert seen(ANN) == ["lobby", "p-mine", "zoo"]
        assert seen(BOB) == ["lobby", "p-mine", "p-theirs", "zoo"]
        assert seen(BOB, "p-mine", 1) == ["p-theirs"]
        assert seen(DAN) == ["lobby", "zoo"]
        rooms.mark_deleted(connection, mine.pk, 7)
        assert seen(ANN) == ["lobby", "zoo"]
        assert rooms.count_made_by(connection, ANN) == 1


def test_a_renamed_room_keeps_its_id(database: Database) -> None:
    with database.transaction() as connection:
        room = rooms.create_private(connection, "p-1", "old", ANN, [], 5)
        rooms.rename(connection, room.pk, "new")
        found = rooms.find(connection, "p-1")
        assert found is not None and found.name == "new"


def test_unread_counts_what_others_said_above_the_mark(database: Database) -> None:
    with database.transaction() as connection:
        other = rooms.create_open(connection, "other", None, 5)
        assert rooms.overview(connection, 1, ANN) == rooms.Overview(0, 0)
        first = messages.insert(connection, 1, BOB, "1", 5, 5, None)
        messages.insert(connection, other.pk, BOB, "elsewhere", 5, 5, None)
        third = messages.insert(connection, 1, BOB, "3", 5, 5, None)
        assert rooms.overview(connection, 1, ANN) == rooms.Overview(third, 2)
        assert rooms.overview(connection, 1, BOB) == rooms.Overview(third, 0)
        rooms.advance_marks(connection, [(ANN, 1, first), (CAT, 1, third)])
        assert rooms.overview(connection, 1, ANN).unread == 1
        rooms.advance_marks(connection, [(ANN, 1, first - 1)])
        assert rooms.overview(connection, 1, ANN).unread == 1
        fourth = messages.insert(connection, 1, ANN, "4", 5, 5, None)
        assert rooms.overview(connection, 1, ANN) == rooms.Overview(fourth, 0)
        assert rooms.overview(connection, 1, CAT).unread == 1


def test_a_mark_between_two_messages_of_the_room_counts_from_the_lower(database: Database) -> None:
    with database.transaction() as connection:
        other = rooms.create_open(connection, "other", None, 5)
        messages.insert(connection, 1, BOB, "1", 5, 5, None)
        elsewhere = messages.insert(connection, other.pk, BOB, "2", 5, 5, None)
        messages.insert(connection, 1, BOB, "3", 5, 5, None)
        rooms.advance_marks(connection, [(ANN, 1, elsewhere)])
        assert rooms.overview(connection, 1, ANN).unread == 1
