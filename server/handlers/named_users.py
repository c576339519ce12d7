"""Users whom a request names.

Owns the answer to a name that no account has, or that a deleted one had (R-ROOM-9, R-TEACH-12).
Holds no state; any thread may call it.
"""

from __future__ import annotations

import sqlite3

import protocol
from protocol import ErrorCode, Refusal
from storage import accounts
from storage.accounts import Account


def user_named(connection: sqlite3.Connection, chatid: str, path: str) -> Account:
    """Return the account that a request names by the key `path`; raises `user_not_found`."""
    account = accounts.find(connection, protocol.fold_chatid(chatid))
    if account is None or account.deleted:
        raise no_such_user(chatid, path)
    return account


def no_such_user(chatid: str, path: str) -> Refusal:
    """Return the refusal of a name that is nobody's."""
    return Refusal(ErrorCode.USER_NOT_FOUND, f"{path}: there is no user {chatid!r}")
