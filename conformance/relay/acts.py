"""What the page may ask of the relay, and what it is told when it is opened.

Owns no state: each act is a function from a JSON object to a JSON object, over what the relay
knows and what steers it. Refuses with a sentence that says why. Called by the threads of the page's
requests.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable, Mapping
from typing import Any, Final, NoReturn, final

from conformance.packets import REPLIES, frame
from conformance.relay import reading
from conformance.relay.faults import KEYS, KINDS, BadFault, from_keys
from conformance.relay.frames import HEADER_BYTES
from conformance.relay.listening import Relay
from conformance.relay.playing import SPEEDS, Player
from conformance.relay.steering import Steering
from conformance.relay.story import Story

VIEWERS_MAY: Final = frozenset({"row"})
"""What the wall may ask, too."""

Act = Callable[[Mapping[str, Any]], Mapping[str, Any]]


@final
class Acts:
    """The acts of one relay, or of one replay; an act says why not by raising `refused`."""

    def __init__(
        self,
        story: Story,
        steering: Steering,
        relay: Relay | None,
        listening: str,
        target: str,
        refused: type[Exception],
        player: Player | None = None,
    ) -> None:
        self._story, self._steering, self._relay, self._player = story, steering, relay, player
        self._listening, self._target = listening, target
        self._refused = refused

    @property
    def all(self) -> dict[str, Act]:
        """By name: every act."""
        if self._player is not None:
            names = ("fault_add", "fault_remove", "step", "edit", "again")
            return {
                "row": self._row,
                "replay": self._replay,
                **dict.fromkeys(names, self._only_live),
            }
        return {
            "row": self._row,
            "replay": self._only_recorded,
            "fault_add": self._fault_add,
            "fault_remove": self._fault_remove,
            "step": self._step,
            "edit": self._edit,
            "again": self._again,
        }

    def state(self) -> dict[str, Any]:
        """Return what a page needs that is opened now. A replay begins when the first one is."""
        if self._player is not None:
            self._player.start()
        step = self._steering.step
        return {
            "target": self._target,
            "listening": self._listening,
            "seed": self._steering.seed,
            "connections": self._story.connections(),
            "kinds": [
                {"kind": name, "does": each.does, "value": each.value}
                for name, each in KINDS.items()
            ],
            "actions": known_actions(),
            "faults": self._steering.listed(),
            "step": {"on": step.is_on, "held": step.held(), "until": step.until or None},
            "replay": None if self._player is None else self._player.state(),
        }

    # --- Acts

    def _row(self, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        detail = self._story.detail(_number(asked, "row"))
        if detail is None:
            self._refuse("This packet is not kept any more; relay --record FILE keeps all.")
        return detail

    def _fault_add(self, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        given = {
            key: str(asked[key]).strip()
            for key in ("fault", *KEYS)
            if str(asked.get(key) or "").strip()
        }
        try:
            self._steering.faults.add(from_keys(given))
        except BadFault as problem:
            self._refuse(str(problem))
        return {"faults": self._steering.listed()}

    def _fault_remove(self, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        if not self._steering.faults.remove(_number(asked, "id")):
            self._refuse("This fault is gone already.")
        return {"faults": self._steering.listed()}

    def _step(self, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        do, step = asked.get("do"), self._steering.step
        if do in ("on", "off"):
            step.turn(do == "on")
        elif do == "until":
            action = str(asked.get("action") or "").strip()
            if not action:
                self._refuse("Say up to which action, as ack or file_*.")
            step.run_until(action)
        elif do == "one":
            row = _number(asked, "row") if asked.get("row") is not None else None
            if step.release(row) is None:
                self._refuse("Nothing is held." if row is None else f"Row {row} is not held.")
        else:
            self._refuse("Expected on, off, one or until.")
        return {}

    def _edit(self, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        row, text = _number(asked, "row"), asked.get("json")
        held = self._steering.step.frame_of(row)
        if held is None:
            self._refuse(f"Row {row} is not held (any more), so it can't be edited.")
        if not isinstance(text, str) or not text:
            self._refuse("Write the text that is to be sent in its place.")
        self._steering.step.release(row, frame(_edited(text, held[HEADER_BYTES:])))
        return {}

    def _again(self, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        row = _number(asked, "row")
        passed = self._story.frame_of(row)
        if passed is None or not passed.piece.is_frame:
            self._refuse("Only a packet that is still kept can be sent again.")
        connection = None if self._relay is None else self._relay.connection(passed.connection)
        way = None if connection is None else connection.way(passed.to_server)
        if way is None:
            self._refuse(f"Connection {passed.connection} is over.")
        if not way.insert(passed.piece.data, f"again {row}"):
            self._refuse("Half a packet is under way there, or the other side does not read.")
        return {}

    def _replay(self, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        do, player = asked.get("do"), self._player
        if player is None or do not in ("pause", "go", "again", "speed"):
            self._refuse("Expected pause, go, again or speed.")
        if do == "speed":
            speed = asked.get("speed")
            if not isinstance(speed, (int, float)) or not math.isfinite(speed) or speed <= 0:
                self._refuse(f"Expected a speed of {SPEEDS[0]:g} to {SPEEDS[1]:g}.")
            player.set_speed(float(speed))
        elif do == "pause":
            player.pause()
        elif do == "again":
            player.again()
        else:
            player.go()
        return {}

    def _only_live(self, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        self._refuse("This is a recording: what has passed can't be changed any more.")

    def _only_recorded(self, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        self._refuse("This is live: relay --play FILE shows a recording.")

    def _refuse(self, why: str) -> NoReturn:
        raise self._refused(why)


def known_actions() -> list[str]:
    """Return the actions that the kit knows, sorted."""
    replies = {each for names in REPLIES.values() for each in names}
    return sorted({*REPLIES, *replies, "receive_message", "receive_file", "error", "event"})


def _number(asked: Mapping[str, Any], key: str) -> int:
    """Return a number that a page has sent, -1 for anything else."""
    number = asked.get(key)
    with contextlib.suppress(TypeError, ValueError, OverflowError):
        if isinstance(number, (int, float, str)) and math.isfinite(float(number)):
            return int(number)
    return -1


def _edited(text: str, original: bytes) -> bytes:
    """Return the payload for a text: compact where it is JSON, else as it was typed. Secrets that
    were shown as stars are those of the original."""
    try:
        packet = json.loads(text)
        before = json.loads(original)
    except (ValueError, RecursionError):
        return text.encode("utf-8", "surrogatepass")
    _put_back(packet, before)
    return json.dumps(packet, ensure_ascii=False, separators=(",", ":")).encode(
        "utf-8", "surrogatepass"
    )


def _put_back(packet: Any, before: Any) -> None:
    if not isinstance(packet, dict) or not isinstance(before, dict):
        return
    for key, each in packet.items():
        if key in reading.SECRETS and each == reading.STARS and isinstance(before.get(key), str):
            packet[key] = before[key]
        elif key in before:
            _put_back(each, before[key])
