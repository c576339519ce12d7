"""Password hashes: scrypt with a salt of their own and the cost in the record.

Owns the record's form, `scrypt$LOG2N$R$P$SALT$HASH`. Never stores, logs or compares a password in
the clear. Any thread may call it; hashing takes 50 ms and 16 MiB at cost 14 without the
GIL, so the caller bounds how many run at once.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets

__all__ = ["MAX_COST", "MIN_COST", "dummy_record", "hash_password", "verify_password"]

MIN_COST, MAX_COST = 1, 20
"""log2 of scrypt's N; 20 takes 1 GiB."""
_R, _P = 8, 1
_SALT_BYTES, _HASH_BYTES = 16, 32


def hash_password(password: str, cost: int) -> str:
    """Return the record to store for `password`. Raises ValueError where `cost` (log2 of N) is not
    within MIN_COST to MAX_COST."""
    salt = secrets.token_bytes(_SALT_BYTES)
    return _record(cost, salt, _scrypt(password, salt, cost, _R, _P))


def verify_password(password: str, record: str) -> bool:
    """Return whether `record` was made from `password`; a record that can't be read fits none. A
    wrong password takes as long as the right one."""
    try:
        name, cost, r, p, salt, expected = record.split("$")
        if name != "scrypt":
            return False
        actual = _scrypt(password, base64.b64decode(salt, validate=True), int(cost), int(r), int(p))
        return hmac.compare_digest(actual, base64.b64decode(expected, validate=True))
    except ValueError:
        return False


def dummy_record(cost: int) -> str:
    """Return a record that no password fits: verifying against it makes an unknown name take as
    long as a wrong password."""
    return _record(cost, secrets.token_bytes(_SALT_BYTES), secrets.token_bytes(_HASH_BYTES))


def _record(cost: int, salt: bytes, digest: bytes) -> str:
    shown = "$".join(base64.b64encode(part).decode() for part in (salt, digest))
    return f"scrypt${cost}${_R}${_P}${shown}"


def _scrypt(password: str, salt: bytes, cost: int, r: int, p: int) -> bytes:
    if not MIN_COST <= cost <= MAX_COST:
        raise ValueError(f"the password cost must be {MIN_COST} to {MAX_COST}, not {cost}")
    n = 1 << cost
    # OpenSSL refuses over 32 MiB unless told. What it needs: 128 r (N + p + 2) bytes (RFC 7914 and
    # two blocks to work in).
    memory = 128 * r * (n + p + 2) + 1024
    return hashlib.scrypt(
        password.encode("utf-8", "surrogatepass"),
        salt=salt,
        n=n,
        r=r,
        p=p,
        maxmem=memory,
        dklen=_HASH_BYTES,
    )
