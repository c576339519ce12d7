"""Users who talk until the server dies, and what they saw of it: for rounds of `kill -9`."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator

from support.history_checker import Ack, Observed, Seen
from support.patience import patience
from support.raw_client import ClosedByServer, RawClient, letter_frequencies
from support.server_process import ServerProcess

ROUND_SECONDS = patience(30.0)


class Talker:
    """A user that sends one message after another until the connection breaks, and goes on with the
    unfinished one later."""

    def __init__(
        self, name: str, observed: Observed, guard: threading.Lock, known: dict[Seen, Seen]
    ) -> None:
        self.name, self.observed, self.guard = name, observed, guard
        self.known = known  # a message is kept once, for all who saw it: a long run sees millions
        self.session_key: str | None = None
        self.numbers = itertools.count(1)
        self.sessions = itertools.count(1)
        self.unfinished: str | None = None

    def talk(self, port: int) -> None:
        """Talk until the server dies. Any other end is an error, which the caller sees in
        `problem`."""
        self.problem: BaseException | None = None
        try:
            self._talk(port)
        except (OSError, ClosedByServer):
            pass
        except (AssertionError, KeyError, ValueError) as error:
            self.problem = error

    def _talk(self, port: int) -> None:
        client = RawClient(port)
        try:
            self._log_in(client)
            seen = self.observed.live[f"{self.name}/{next(self.sessions)}"]
            while True:
                if self.unfinished is None:
                    self.unfinished = f"{self.name}:{next(self.numbers)}"
                    self.observed.sent[self.name].append(self.unfinished)
                self._say(client, self.unfinished, seen)
                self.unfinished = None
        finally:
            client.close()

    def _log_in(self, client: RawClient) -> None:
        if self.session_key is None:
            client.register(self.name)
            reply = client.login(self.name, take_over=True)
        else:
            reply = client.login(self.name, None, session_key=self.session_key)
        assert reply["action"] == "login_success", reply
        self.session_key = client.session_key

    def _say(self, client: RawClient, key: str, seen: list[Seen]) -> None:
        data = {"chatid": self.name, "room_id": "lobby", "content": key, "transaction_id": key}
        client.send({"action": "send_message", "data": data})
        while True:
            packet = client.receive(ROUND_SECONDS)
            data = packet.get("data", {})
            if packet["action"] == "receive_message":
                one = Seen(data["message_id"], data["sender_chatid"], data["content"])
                seen.append(self.known.setdefault(one, one))
            elif packet["action"] == "character_count":
                assert data["letter_frequencies"] == letter_frequencies(key)
                client.send(
                    {"action": "confirm_count", "data": {"transaction_id": key, "confirm": True}}
                )
            elif packet["action"] != "receive_file":
                assert packet["action"] == "ack" and packet["status"] == "success", packet
                with self.guard:
                    self.observed.acks.append(Ack(self.name, key, data["message_id"]))
                return


def read_history(client: RawClient, after: int = 0) -> Iterator[Seen]:
    while True:
        data = client.ask("get_messages", room_id="lobby", after_id=after)["data"]
        for message in data["messages"]:
            yield Seen(message["message_id"], message["sender_chatid"], message["content"])
            after = message["message_id"]
        if not data["has_more"]:
            return


def one_round(process: ServerProcess, talkers: list[Talker], seconds: float) -> None:
    threads = [
        threading.Thread(target=talker.talk, args=(process.port,), name=talker.name, daemon=True)
        for talker in talkers
    ]
    for thread in threads:
        thread.start()
    time.sleep(seconds)  # not for order: how long they may talk
    process.kill()
    for thread in threads:
        thread.join(ROUND_SECONDS)
        assert not thread.is_alive(), f"{thread.name} hangs"
    problems = [talker.problem for talker in talkers if talker.problem is not None]
    assert not problems, problems[0]


def history_of(process: ServerProcess, after: int) -> list[Seen]:
    client = RawClient(process.port)
    try:
        client.register("historian")
        client.login("historian", take_over=True)
        return list(read_history(client, after))
    finally:
        client.close()
