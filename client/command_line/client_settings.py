"""What holds for one start of the client, of flags, variables, the settings file and defaults.

Owns which of them wins, what `--save` and `--show-settings` make of them, and the session that
`--stay` keeps. The files are `client.command_line.preferences`'s. For the main thread.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import incoming_text
import protocol
from client.command_line import preferences
from client.command_line.options import COLOURS, DEFAULT_SERVER, address, joined
from client.command_line.preferences import BadSettings, KeptSession, Store, Value
from client.records import Session


@dataclasses.dataclass(frozen=True)
class ClientSettings:
    """What holds, of flags, variables, the values file and defaults. `user` and `server` may be
    asked for or defaults."""

    server: tuple[str, int] = DEFAULT_SERVER
    user: str | None = None
    room: str = "lobby"
    tls: bool = False
    cafile: str | None = None
    color: str = "auto"
    download_folder: str = "downloads"
    stay: bool = False


def settings_from(given: argparse.Namespace, values: Mapping[str, Value]) -> ClientSettings:
    """Put together what holds: flags beat variables, which beat the file. Raise `BadSettings`."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if key == "server":
            try:
                found[key] = address(value.text)
            except argparse.ArgumentTypeError as error:
                raise BadSettings(f"{value.origin}: {error}") from error
        elif key in ("tls", "stay"):
            found[key] = preferences.as_flag(value, key)
        else:
            found[key.replace("-", "_")] = value.text
    if found.get("color", "auto") not in COLOURS:
        raise BadSettings(
            f"{values['color'].origin}: color is {found['color']!r}; expected one of "
            f"{', '.join(COLOURS)}"
        )
    if given.server is not None and found.get("server") not in (None, given.server):
        found.pop("tls", None)  # those are another server's
        found.pop("cafile", None)
    flags = {
        field.name: getattr(given, field.name, None) for field in dataclasses.fields(ClientSettings)
    }
    if flags["cafile"] is not None and flags["tls"] is None and not found.get("tls"):
        raise BadSettings("--cafile needs --tls")
    found.update((key, value) for key, value in flags.items() if value is not None)
    try:
        for key in ("cafile", "download_folder"):
            if found.get(key) is not None:
                found[key] = incoming_text.place(found[key])
    except incoming_text.BadText as error:
        raise BadSettings(str(error)) from error
    result = ClientSettings(**found)
    return result if result.tls else dataclasses.replace(result, cafile=None)


def to_save(settings: ClientSettings, given: argparse.Namespace) -> dict[str, str]:
    """Return what `--save` writes: what was given, and the server."""
    values = {"server": joined(settings.server)}
    for key in preferences.KEYS:
        value = getattr(given, key.replace("-", "_"), None)
        if key == "cafile" and value is not None:
            value = os.path.abspath(incoming_text.place(value))
        if key != "server" and value is not None:
            values[key] = {True: "yes", False: "no"}.get(value, value)
    return values


def show_settings(
    store: Store, values: Mapping[str, Value], settings: ClientSettings, given: argparse.Namespace
) -> None:
    """Print every setting as a line of the file, and behind it where it comes from."""
    if store.path is None:
        print(f"# no file: there is no home folder\n[{preferences.SECTION}]")
    else:
        there = "" if store.path.exists() else " (not there)"
        print(f"# {store.path}{there}\n[{preferences.SECTION}]")
    for key in preferences.KEYS:
        name = key.replace("-", "_")
        value: Any = getattr(settings, name)
        if getattr(given, name, None) is not None:
            origin = "flag"
        else:
            origin = values[key].origin if key in values else "default"
        shown = (
            joined(value)
            if key == "server"
            else {True: "yes", False: "no", None: ""}.get(value, value)
        )
        print(f"{key} = {shown}".rstrip() + f"    # {origin}")


def place_of_settings(given: argparse.Namespace) -> Store:
    """Return the place beside the program where asked for, or where such a file lies there already;
    else the system's own place."""
    beside = Path(sys.argv[0]).resolve().parent
    portable = given.portable or (beside / preferences.PORTABLE_NAME).is_file()
    return Store(beside if portable else None)


def kept_session(settings: ClientSettings, store: Store) -> KeptSession | None:
    """Take the session that is to be taken up out of the file, or return None. (Two windows that
    both took it up would throw each other out for ever.)"""
    kept = store.kept_session()
    if kept is None or kept.server != joined(settings.server) or kept.tls != settings.tls:
        return None
    if settings.user is not None and protocol.fold_chatid(settings.user) != protocol.fold_chatid(
        kept.user
    ):
        return None
    store.forget_session()
    return kept


def keep_session(settings: ClientSettings, store: Store, session: Session) -> bool:
    """Keep the session for the next start; says so where that is not possible."""
    if store.keep_session(
        KeptSession(joined(settings.server), session.chatid, settings.tls, session.session_key)
    ):
        return True
    print(
        "* Your session can't be kept here, where others could read its key; you are logged out.",
        file=sys.stderr,
    )
    return False
