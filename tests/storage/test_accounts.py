"""`storage.accounts`, `storage.passwords` and `storage.meta`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from storage import accounts, meta, passwords
from storage.database import Database
from storage.errors import NameTaken


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database(tmp_path / "chat.db", readers=1)
    yield opened
    opened.close()


def test_an_account_is_found_by_its_folded_name_and_shown_as_registered(database: Database) -> None:
    with database.transaction() as connection:
        made = accounts.create(connection, "Ada", "ada", "record", 10)
    with database.reading() as connection:
        assert accounts.find(connection, "ada") == made == accounts.by_id(connection, made.id)
        assert made == accounts.Account(made.id, "Ada", "ada", "record", 1, False)
        assert accounts.find(connection, "Ada") is None
        assert accounts.by_id(connection, 99) is None


@pytest.mark.parametrize(("chatid", "folded"), [("ADA", "ada"), ("Ada", "other")])
def test_a_name_is_given_once_and_a_deleted_one_stays_reserved(
    database: Database, chatid: str, folded: str
) -> None:
    with database.transaction() as connection:
        first = accounts.create(connection, "Ada", "ada", "record", 10)
        with pytest.raises(NameTaken):
            accounts.create(connection, chatid, folded, "record", 11)
        accounts.mark_deleted(connection, first.id, 12)
        with pytest.raises(NameTaken):
            accounts.create(connection, chatid, folded, "record", 13)
        found = accounts.find(connection, "ada")
    assert found is not None and found.deleted and found.id == first.id


def test_what_must_end_sessions_changes_the_version_and_drops_the_key(database: Database) -> None:
    with database.transaction() as connection:
        one, two = (accounts.create(connection, name, name, "record", 10).id for name in "ab")
        for number, account in enumerate((one, two)):
            accounts.store_key(connection, account, b"key%d" % number, 10)
        accounts.set_password(connection, one, "new record")
        accounts.mark_deleted(connection, two, 11)
        accounts.mark_deleted(connection, two, 12)
        assert accounts.credentials(connection) == {one: (2, "student")}
        changed, deleted = accounts.by_id(connection, one), accounts.by_id(connection, two)
        assert changed is not None and (changed.password_hash, changed.credential_version) == (
            "new record",
            2,
        )
        assert deleted is not None and deleted.credential_version == 2
        assert accounts.find_key(connection, b"key0") is None
        assert accounts.find_key(connection, b"key1") is None


def test_an_account_has_one_session_key_and_its_last_use_is_known(database: Database) -> None:
    with database.transaction() as connection:
        account = accounts.create(connection, "a", "a", "record", 10)
        accounts.store_key(connection, account.id, b"old", 10)
        accounts.store_key(connection, account.id, b"new", 20)
        assert accounts.find_key(connection, b"old") is None
        assert accounts.find_key(connection, b"new") == (account, 20)
        accounts.touch_key(connection, account.id, 30)
        assert accounts.find_key(connection, b"new") == (account, 30)
        accounts.drop_key(connection, account.id)
        accounts.touch_key(connection, account.id, 40)
        assert accounts.find_key(connection, b"new") is None


def test_a_key_is_known_and_ended_only_while_it_is_the_accounts_own(database: Database) -> None:
    with database.transaction() as connection:
        account = accounts.create(connection, "a", "a", "record", 10)
        accounts.store_key(connection, account.id, b"old", 10)
        assert accounts.has_key(connection, account.id, b"old")
        assert accounts.find_key(connection, b"old") == (account, 10), "asking stores nothing"
        accounts.store_key(connection, account.id, b"new", 20)
        assert not accounts.has_key(connection, account.id, b"old")
        accounts.end_key(connection, account.id, b"old")
        assert accounts.find_key(connection, b"new") == (account, 20)
        accounts.end_key(connection, account.id, b"new")
        assert accounts.find_key(connection, b"new") is None


def test_an_account_is_current_until_its_password_changes_or_it_is_deleted(
    database: Database,
) -> None:
    with database.transaction() as connection:
        one, two = (accounts.create(connection, name, name, "r", 10) for name in ("a", "b"))
        assert accounts.is_current(connection, one.id, one.credential_version)
        accounts.set_password(connection, one.id, "new")
        assert not accounts.is_current(connection, one.id, one.credential_version)
        assert accounts.is_current(connection, one.id, one.credential_version + 1)
        accounts.mark_deleted(connection, two.id, 20)
        assert not accounts.is_current(connection, two.id, two.credential_version)
        assert not accounts.is_current(connection, 99, 1)


def test_pages_of_accounts_are_sorted_by_code_points_and_skip_deleted_ones(
    database: Database,
) -> None:
    with database.transaction() as connection:
        for name in ("b", "Z", "é", "a", "gone"):
            account = accounts.create(connection, name, f"folded {name}", "record", 10)
            if name == "gone":
                accounts.mark_deleted(connection, account.id, 11)
        assert accounts.count(connection) == 4
        assert [account.chatid for account in accounts.page(connection, None, 3)] == ["Z", "a", "b"]
        assert [account.chatid for account in accounts.page(connection, "b", 3)] == ["é"]


def test_a_named_value_is_replaced(database: Database) -> None:
    with database.transaction() as connection:
        assert meta.get(connection, "position") is None
        meta.put(connection, "position", "1")
        meta.put(connection, "position", "2")
        assert meta.get(connection, "position") == "2"


# -- passwords -------------------------------------------------------------------------------------


def test_a_record_fits_its_password_only() -> None:
    record = passwords.hash_password("pässword", 4)
    assert record.startswith("scrypt$4$8$1$")
    assert passwords.verify_password("pässword", record)
    assert not passwords.verify_password("password", record)


def test_the_same_password_never_gives_the_same_record() -> None:
    assert passwords.hash_password("x", 2) != passwords.hash_password("x", 2)


def test_the_record_carries_its_cost_so_that_old_ones_stay_good() -> None:
    assert all(
        passwords.verify_password("x", passwords.hash_password("x", cost)) for cost in (1, 4, 15)
    )


@pytest.mark.parametrize("cost", [0, 21, -1])
def test_an_impossible_cost_is_refused(cost: int) -> None:
    with pytest.raises(ValueError, match="1 to 20"):
        passwords.hash_password("x", cost)


@pytest.mark.parametrize(
    "record",
    [
        "",
        "scrypt",
        "bcrypt$4$8$1$AAAA$AAAA",
        "scrypt$x$8$1$AAAA$AAAA",
        "scrypt$4$8$1$A*$AAAA",
        "scrypt$99$8$1$AAAA$AAAA",
    ],
)
def test_a_record_that_cannot_be_read_fits_no_password(record: str) -> None:
    assert not passwords.verify_password("x", record)


def test_the_dummy_record_has_the_form_of_a_real_one_and_fits_nothing() -> None:
    real, dummy = passwords.hash_password("x", 4), passwords.dummy_record(4)
    assert [len(part) for part in dummy.split("$")] == [len(part) for part in real.split("$")]
    assert not passwords.verify_password("", dummy)
