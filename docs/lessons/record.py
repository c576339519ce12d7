"""Make the recordings and pictures of docs/lessons: `python docs/lessons/record.py [NAME ...]`.

Starts a server for each lesson (ours, or one with a famous mistake from tests/support), a relay
that records, and people who talk through it at the pace of a reader. Takes about a minute.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from support.lesson_servers import SERVERS  # noqa: E402

from conformance.packets import PAST, Packet, key_of, letters, value  # noqa: E402
from conformance.relay import drawing  # noqa: E402
from conformance.relay.connection import Target  # noqa: E402
from conformance.relay.faults import parse  # noqa: E402
from conformance.relay.recording import Recorder, read_file  # noqa: E402
from conformance.relay.recording_command import events_of  # noqa: E402
from conformance.relay.station import Station  # noqa: E402
from conformance.transcript import Transcript  # noqa: E402
from conformance.wire import Wire  # noqa: E402

FOLDER: Final = Path(__file__).resolve().parent
PACE_SECONDS: Final = 0.4


class Person:
    """Somebody who talks through the relay, one step at a time."""

    def __init__(self, port: int, name: str) -> None:
        self.name = name
        self.wire = Wire.connect("127.0.0.1", port, Transcript(), name)
        self.ask("register", chatid=name, password="a password")
        self.ask("login", chatid=name, password="a password")

    def send(self, action: str, **data: Any) -> None:
        """Send a packet, after a moment."""
        time.sleep(PACE_SECONDS)
        self.wire.send({"action": action, "data": data})

    def ask(self, action: str, **data: Any) -> Packet:
        """Send a packet and take the next that comes."""
        self.send(action, **data)
        return self.wire.receive()

    def say(self, text: str, key: str) -> Packet:
        """Send a message; return the counts that answer, or an error."""
        data = {"chatid": self.name, "room_id": "lobby", "content": text, "transaction_id": key}
        self.send("send_message", **data)
        return self.wire.receive_where(
            lambda each: each.get("action") in ("character_count", "error"), "counts"
        )

    def confirm(self, counts: Packet, text: str) -> Packet:
        """Answer counts as a client does; return the ack."""
        agrees = value(counts, "letter_frequencies") == letters(text)
        self.send("confirm_count", transaction_id=key_of(counts), confirm=agrees)
        return self.wire.expect("ack")

    def hear(self) -> None:
        """Take the next message, and the receiver's half of the handshake."""
        heard = self.wire.expect("receive_message")
        key = key_of(heard)
        counts = letters(str(value(heard, "content")))
        self.send(
            "character_count",
            transaction_id=key,
            letter_frequencies=counts,
            original_action="receive_message",
        )
        answer = self.wire.expect("confirm_count")
        status = "success" if value(answer, "confirm") else "error"
        time.sleep(PACE_SECONDS)
        self.wire.send(
            {"action": "ack", "status": status, "message": "", "data": {"transaction_id": key}}
        )

    def read(self) -> Packet:
        """Read the history of the lobby."""
        time.sleep(PACE_SECONDS)
        data = {"chatid": self.name, "room_id": "lobby", "from_time": PAST}
        self.wire.send({"action": "get_messages", "data": data})
        return self.wire.expect("messages_list")


# --- The lessons ----------------------------------------------------------------------------------


def frames(port: int) -> None:
    """Two pings in one piece, one in pieces of three bytes."""
    ada = Person(port, "ada")
    ada.send("ping")
    ada.send("ping")
    ada.wire.receive()
    ada.wire.receive()
    ada.ask("ping")


def half_frame(port: int) -> None:
    """A message whose frame comes in two pieces."""
    ada = Person(port, "ada")
    ada.say("Half of this comes first.", "k1")


def handshake(port: int) -> None:
    """A whole handshake for three, then a confirmation that is lost and sent again."""
    ada, ben, cleo = (Person(port, name) for name in ("ada", "ben", "cleo"))
    ada.confirm(ada.say("Hello, you two!", "k1"), "Hello, you two!")
    ben.hear()
    cleo.hear()
    text = "Is this stored once?"
    counts = ada.say(text, "k2")
    ada.send("confirm_count", transaction_id=key_of(counts), confirm=True)
    time.sleep(2.0)
    ada.confirm(ada.say(text, "k2"), text)
    ben.hear()
    cleo.hear()


def early_ack(port: int) -> None:
    """A message that was acknowledged and is not in the history."""
    ada = Person(port, "ada")
    ada.confirm(ada.say("Is this stored?", "k1"), "Is this stored?")
    data = {"chatid": "ada", "room_id": "lobby", "from_time": PAST}
    ada.wire.send({"action": "get_messages", "data": data})
    ada.wire.expect("messages_list")
    ada.read()


def counts(port: int) -> None:
    """A changed letter, which the counts find, and two that changed places, which they don't."""
    ada, ben = Person(port, "ada"), Person(port, "ben")
    ada.confirm(ada.say("listen", "k1"), "listen")
    ada.confirm(ada.say("listen", "k2"), "listen")
    ben.hear()
    ben.read()


def order_by_time(port: int) -> None:
    """Messages of one second, in another order live than in the history."""
    ada, ben = Person(port, "ada"), Person(port, "ben")
    time.sleep(1.05 - time.time() % 1)  # a second begins
    for number, text in enumerate(("one", "two", "three")):
        data = {"chatid": "ada", "room_id": "lobby", "content": text}
        ada.wire.send({"action": "send_message", "data": {**data, "transaction_id": f"k{number}"}})
        ada.wire.expect("character_count")
        answer = {"transaction_id": f"k{number}", "confirm": True}
        ada.wire.send({"action": "confirm_count", "data": answer})
        ada.wire.expect("ack")
        ben.wire.expect("receive_message")
    ben.read()


LESSONS: Final[dict[str, tuple[Callable[[int], None], str, tuple[str, ...]]]] = {
    "frames": (
        frames,
        "Frames: joined, split, whole",
        ("join ping to=server first=1", "split 3 ping to=server every=2"),
    ),
    "half_frame": (
        half_frame,
        "A famous bug: one recv is one frame",
        ("split 40 send_message to=server",),
    ),
    "handshake": (
        handshake,
        "The handshake, and a confirmation that is lost",
        ("drop confirm_count to=server user=ada every=2 first=1",),
    ),
    "early_ack": (early_ack, "A famous bug: acknowledged, then stored", ()),
    "counts": (
        counts,
        "Counts: a changed letter, and two that changed places",
        ("letter send_message first=1", "anagram send_message first=1"),
    ),
    "order_by_time": (order_by_time, "A famous bug: ordered by time", ()),
}
"""By name: who talks, the title of the picture, the faults."""


@contextlib.contextmanager
def serving(name: str) -> Iterator[int]:
    """Run our server, or the one with the mistake of this lesson; give its port."""
    if name in SERVERS:
        server = SERVERS[name]().start()
        try:
            yield server.port
        finally:
            server.stop()
        return
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(ROOT / "chat_server.py"), "--host", "127.0.0.1"]
        command += ["--log-level", "error"]
        command += ["--port", "0", "--data", f"{folder}/data", "--password-cost", "4"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=folder) as process:
            assert process.stdout is not None
            try:
                line = next(each for each in process.stdout if "listening on" in each)
                yield int(line.split("listening on ", 1)[1].split()[0].rpartition(":")[2])
            finally:
                process.terminate()
                process.stdout.read()


def record(name: str) -> Path:
    """Record one lesson; return its file."""
    talk, title, faults = LESSONS[name]
    path = FOLDER / f"{name}.frames"
    recorder = Recorder(str(path), {"title": title, "faults": list(faults)})
    with serving(name) as port:
        station = Station(
            ("127.0.0.1", 0),
            Target("127.0.0.1", port),
            observers=[recorder],
            faults=[parse(each) for each in faults],
        )
        station.start()
        talk(station.relay.port)
        time.sleep(PACE_SECONDS)
        station.close()
    recorder.close()
    return path


def main(names: list[str]) -> int:
    """Record the lessons of these names, or all, and draw them."""
    for name in names or list(LESSONS):
        path = record(name)
        recording = read_file(str(path))
        svg = drawing.to_svg(events_of(recording), LESSONS[name][1])
        path.with_suffix(".svg").write_text(svg, "utf-8")
        print(f"{path.relative_to(ROOT)}: {recording.length:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
