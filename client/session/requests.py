"""The requests that are one question and one answer: history, rooms, people, files.

Owns a method for each, and how lists that come in pages are put together. How a question reaches
the server is the subclass's. Every method waits, with a deadline, and may be called by any thread.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal

from client.records import (
    Page,
    Room,
    Session,
    SharedFile,
    Users,
    as_list,
    as_object,
    as_objects,
    as_text,
    file_from,
    page_from,
    room_from,
)
from client.session.paging import PageWalk

ANSWER_SECONDS: Final = 30.0


def all_pages(
    ask: Callable[[str, Mapping[str, Any]], Mapping[str, Any]],
    action: str,
    data: Mapping[str, Any],
    name: str,
    key: Callable[[Any], str],
    also: Callable[[Mapping[str, Any]], None] | None = None,
) -> list[Any]:
    """Return all items of the list `name` that comes in pages; `key` gives the word by which the
    page after an item is asked for."""
    items: list[Any] = []
    more, walk = dict(data), PageWalk(name)
    while True:
        reply = ask(action, more)
        page, has_more = as_list(reply.get(name)), bool(reply.get("has_more"))
        if page:
            walk.take(page, map(key, page), has_more=has_more)
        items += page
        if also is not None:
            also(reply)
        if not has_more or not page:
            return items
        more["after"] = key(page[-1])


def all_rooms(ask: Callable[[str, Mapping[str, Any]], Mapping[str, Any]]) -> list[Room]:
    """Return all rooms of the session's user, sorted by id."""
    items = all_pages(
        ask, "get_rooms", {}, "rooms", lambda item: as_text(as_object(item).get("id"))
    )
    return [room_from(item) for item in as_objects(items)]


def all_files(
    ask: Callable[[str, Mapping[str, Any]], Mapping[str, Any]], room_id: str
) -> list[SharedFile]:
    """Return all files of a room, oldest first."""
    reply = ask("file_list_req", {"room_id": room_id})
    if "files" not in reply:
        names = as_text(reply.get("file_list"))
        return [SharedFile(name) for name in names.split(", ") if name]
    found: list[SharedFile] = []
    walk = PageWalk("files")
    while True:
        page = [file_from(item) for item in as_objects(reply.get("files"))]
        has_more = bool(reply.get("has_more"))
        if not page:
            return found
        walk.take(page, (file.file_path for file in page), has_more=has_more)
        found += page
        if not has_more:
            return found
        reply = ask("file_list_req", {"room_id": room_id, "after": page[-1].file_path})


class Requests(abc.ABC):
    """What can be asked. Each method raises `ServerError` where it is refused and `ConnectionLost`
    where no answer comes."""

    @property
    @abc.abstractmethod
    def session(self) -> Session | None:
        """Who is logged in."""

    @abc.abstractmethod
    def request(
        self, action: str, data: Mapping[str, Any] | None = None, *, timeout: float = ANSWER_SECONDS
    ) -> Mapping[str, Any]:
        """Send any request and wait for its reply's `data`."""

    def history(
        self,
        room_id: str,
        *,
        from_time: str | None = None,
        after_id: int | None = None,
        before_id: int | Literal[False] | None = False,
        limit: int | None = None,
    ) -> Page:
        """Return a page of a room's messages, oldest first. `before_id=None` is the newest page;
        without anything, from the beginning."""
        data: dict[str, Any] = {"room_id": room_id}
        if from_time is not None:
            data["from_time"] = from_time
        if after_id is not None:
            data["after_id"] = after_id
        if before_id is not False:
            data["before_id"] = before_id
        if not data.keys() & {"from_time", "after_id", "before_id"} or not self._extended():
            data.setdefault("from_time", "1970-01-01T00:00:00Z")
        if limit is not None:
            data["limit"] = limit
        page = page_from(self.request("get_messages", data), room_id)
        if not self._extended() and before_id is not False:
            newest = page.messages[-(limit or len(page.messages)) :]
            return Page(newest, len(newest) < len(page.messages))
        return page

    def rooms(self) -> list[Room]:
        """Return all rooms of this user, sorted by id."""
        return all_rooms(self.request)

    def create_room(self, room_name: str, participants: Sequence[str] = ()) -> str:
        """Make a private room with these members; return its id."""
        reply = self.request(
            "create_room", {"room_name": room_name, "participants": list(participants)}
        )
        return as_text(reply.get("room_id"))

    def join_room(self, room_id: str) -> None:
        """Have the messages of an open room delivered (again)."""
        self.request("join_room", {"room_id": room_id})

    def leave_room(self, room_id: str) -> None:
        """End delivery of an open room, or membership of a private one."""
        self.request("leave_room", {"room_id": room_id})

    def add_user(self, room_id: str, chatid: str) -> None:
        """Make somebody a member of an own private room."""
        self.request("add_user_to_room", {"room_id": room_id, "user_to_add": chatid})

    def remove_user(self, room_id: str, chatid: str) -> None:
        """End somebody's membership of an own private room."""
        self.request("remove_user_from_room", {"room_id": room_id, "user_to_remove": chatid})

    def rename_room(self, room_id: str, name: str) -> None:
        """Give an own private room another name."""
        self.request("rename_room", {"room_id": room_id, "new_room_name": name})

    def delete_room(self, room_id: str) -> None:
        """Put an own private room out of everybody's reach."""
        self.request("delete_room", {"room_id": room_id})

    def room_users(self, room_id: str) -> tuple[str, ...]:
        """Return the members of a room."""
        items = all_pages(self.request, "get_room_users", {"room_id": room_id}, "users", str)
        return tuple(item for item in items if isinstance(item, str))

    def users(self) -> Users:
        """Return all accounts, and who is on."""
        online: list[Any] = []
        items = all_pages(
            self.request,
            "get_users",
            {},
            "users",
            str,
            lambda reply: online.extend(as_list(reply.get("online"))),
        )
        return Users(
            tuple(item for item in items if isinstance(item, str)),
            tuple(str(item) for item in online),
        )

    def files(self, room_id: str) -> list[SharedFile]:
        """Return the files of a room, oldest first."""
        return all_files(self.request, room_id)

    def _extended(self) -> bool:
        session = self.session
        return session is not None and session.extended
