"""A relay for the page alone: tells made-up traffic and notes what is asked of it."""

from __future__ import annotations

import threading
from importlib import resources
from typing import Any, final

from webpage import ActRefused, Page

Event = dict[str, Any]
PATIENT_RULE = "A frame is a 4-byte unsigned big-endian length N, then exactly N bytes of JSON."


@final
class FakeRelay:
    """A page of the relay, and who publishes to it."""

    def __init__(self, port: int = 0, **options: Any) -> None:
        self.asked: list[tuple[str, Event]] = []
        self.faults: list[Event] = []
        self.step: Event = {"on": False, "held": [], "until": None}
        self.state_more: Event = {}
        self.rows: dict[int, Event] = {}
        self._row = 0
        self._time = 0.0
        self._lock = threading.Lock()
        names = ("row", "fault_add", "fault_remove", "step", "edit", "again", "replay")
        self.page = Page(
            "127.0.0.1",
            port,
            resources.files("conformance.relay") / "page",
            "Relay",
            {name: self._note(name) for name in names},
            viewers_may={"row"},
            state=self.state,
            **options,
        )
        self.page.start()

    def state(self) -> Event:
        return {
            "target": "127.0.0.1:9876",
            "listening": "127.0.0.1:9875",
            "seed": 1,
            "connections": [],
            "kinds": [
                {"kind": "drop", "does": "the message is lost", "value": ""},
                {"kind": "delay", "does": "it comes later, and all behind it", "value": "MS"},
                {"kind": "split", "does": "it comes in pieces", "value": "BYTES"},
            ],
            "actions": ["send_message", "character_count", "confirm_count", "ack"],
            "faults": self.faults,
            "step": self.step,
            "replay": None,
            **self.state_more,
        }

    def _note(self, name: str) -> Any:
        def act(asked: Event) -> Event:
            with self._lock:
                self.asked.append((name, asked))
            return self.answer(name, asked)

        return act

    def answer(self, name: str, asked: Event) -> Event:
        if name == "row":
            return self.detail(asked["row"])
        if name == "fault_add":
            if asked["fault"] == "split":
                raise ActRefused("split takes BYTES: expected a number from 1")
            words = [f"{key}={asked[key]}" for key in ("to", "every") if key in asked]
            text = " ".join([asked["fault"], asked.get("action", "*"), *words])
            self.faults = [*self.faults, {"id": len(self.faults) + 1, "text": text, "hits": 0}]
            self.tell("faults", faults=self.faults)
            return {"faults": self.faults}
        if name == "fault_remove":
            self.faults = [each for each in self.faults if each["id"] != asked["id"]]
            self.tell("faults", faults=self.faults)
            return {"faults": self.faults}
        if name == "step":
            if asked["do"] in ("on", "off"):
                self.step = {"on": asked["do"] == "on", "held": [], "until": None}
            else:
                self.step = {**self.step, "held": self.step["held"][1:]}
            self.tell("step", **self.step)
        return {}

    def detail(self, row: int) -> Event:
        event = self.rows.get(row)
        if event is None:
            raise ActRefused(f"row {row} is not kept any more")
        return {
            **event,
            "came_of": ["sent again: row 17, 5.0 s later"] if event.get("fault") else [],
            "length_hex": "00 00 00 2a",
            "length": event["size"] - 4,
            "json": event.get("json", '{\n  "action": "send_message",\n  "n": [1, true]\n}'),
            "counts": {
                "verdict": event.get("counts", "none"),
                "text": "Hello",
                "expected": {"H": 1, "e": 1, "l": 2, "o": 1},
                "came": {"H": 1, "e": 1, "l": 3, "o": 1}
                if event.get("counts") == "differ"
                else {"H": 1, "e": 1, "l": 2, "o": 1},
            },
            "rules": [{"id": "R-FRAME-1", "sentence": PATIENT_RULE}],
            "sent": [] if event.get("fault") == "drop" else None,
        }

    # --- Traffic ----------------------------------------------------------------------------------

    def tell(self, kind: str, **more: Any) -> None:
        self._time += 0.05
        self.page.publish({"kind": kind, "time": round(self._time, 4), **more})

    def open(self, connection: int, user: str = "") -> None:
        self.tell("open", connection=connection, **{"from": f"127.0.0.1:{50000 + connection}"})
        if user:
            self.frame(connection, "server", "login", user)
            self.tell("name", connection=connection, user=user)
            self.frame(connection, "client", "login_success", user)

    def frame(self, connection: int, to: str, action: str, summary: str = "", **more: Any) -> int:
        self._row += 1
        event = {
            "connection": connection,
            "row": self._row,
            "to": to,
            "action": action,
            "summary": summary,
            "size": 120,
            "room": None,
            "transaction": None,
            "message": None,
            "counts": "none",
            "fault": None,
            "held": False,
            **more,
        }
        event.setdefault("kind", "frame")
        self._time += 0.05
        event["time"] = round(self._time, 4)
        self.rows[self._row] = event
        self.rows.pop(self._row - 5000, None)
        self.page.publish({key: value for key, value in event.items() if key != "json"})
        return self._row

    def message(self, sender: int, text: str, number: int, receivers: tuple[int, ...]) -> None:
        """A whole message: the sender's handshake and each receiver's."""
        key, other = f"t-{number}", f"r-{number}"
        self.frame(sender, "server", "send_message", f"lobby · {text}", room="lobby")
        self.frame(sender, "client", "character_count", "5 letters: H 1, e 1", transaction=key)
        self.frame(sender, "server", "confirm_count", "yes, the same counts", transaction=key)
        stored = f"stored as message {number}"
        self.frame(sender, "client", "ack", stored, transaction=key, message=number)
        for each in receivers:
            more = {"room": "lobby", "transaction": other, "message": number}
            self.frame(each, "client", "receive_message", f"lobby · {text}", **more)
        for each in receivers:
            self.frame(
                each, "server", "character_count", "5 letters", transaction=other, counts="agree"
            )
            self.frame(each, "client", "confirm_count", "yes, the same", transaction=other)
            self.frame(each, "server", "ack", "success", transaction=other)

    def close(self) -> None:
        self.page.close()
