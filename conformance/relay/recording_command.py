"""The command `recording`: a recording as a picture, a text, a capture, or a case of the kit.

Owns its options and where the output goes. One thread.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Final

from conformance import own_name
from conformance.relay import capture, casemaking, drawing, mermaid
from conformance.relay.recording import BadRecording, Recording, read_file
from conformance.relay.story import Event, Story
from conformance.relay.terminal import Terminal
from conformance.relay.traffic import Passed

HELP: Final = "make a picture, a text, a capture or a case of a recording"
EPILOG: Final = own_name.named("""FILE is what relay --record wrote, or a journal of the server
(chat-data/journal/room-000001/DAY.frames). Without an option its packets are listed.

examples:
  python -m conformance recording lesson.frames
  python -m conformance recording lesson.frames --svg -o lesson.svg
  python -m conformance recording lesson.frames --rows 9-15 --mermaid
  python -m conformance recording lesson.frames --pcap -o lesson.pcap
  python -m conformance recording lesson.frames --case lost_message
  wireshark -X lua_script:docs/wireshark/chat.lua lesson.pcap""")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `recording`."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EPILOG
    parser.add_argument("file", metavar="FILE", help="a recording, or a journal")
    kinds = parser.add_mutually_exclusive_group()
    kinds.add_argument("--svg", action="store_true", help="a picture: a sequence diagram")
    kinds.add_argument("--mermaid", action="store_true", help="the same as text, for wikis")
    kinds.add_argument("--pcap", action="store_true", help="a capture, for Wireshark and tshark")
    kinds.add_argument(
        "--case", metavar="NAME", help="a case of the kit that does the same again: NAME.py"
    )
    parser.add_argument("-o", dest="output", metavar="FILE", help="write to this file")
    parser.add_argument("--rows", metavar="A-B", help="only these rows (numbers of packets)")
    parser.add_argument("--title", metavar="TEXT", help="above the picture (default: the file)")


def run(args: argparse.Namespace) -> int:
    """Do what the options say; return the exit status. ValueError for what can't be done."""
    recording = read_file(args.file)
    wanted = _rows(args.rows)
    title = args.title or Path(args.file).stem
    if args.pcap:
        items = [
            item for item in recording.items if not isinstance(item, Passed) or item.row in wanted
        ]
        _write(capture.to_pcap(items, recording.began), args.output)
        return 0
    if args.case:
        items = [item for item in recording.items if getattr(item, "row", 1) in wanted]
        text = casemaking.to_case(items, args.case, title, Path(args.file).name)
        _write(text.encode(), args.output or f"{args.case}.py")
        print(f"run it: {own_name.NAME} server HOST:PORT --with {args.case}.py")
        return 0
    events = events_of(recording)
    chosen = [each for each in events if "row" not in each or each["row"] in wanted]
    if args.rows:
        chosen = [each for each in chosen if each["kind"] not in ("open", "close")]
    if args.svg:
        _write(drawing.to_svg(chosen, title).encode(), args.output)
    elif args.mermaid:
        _write(mermaid.to_mermaid(chosen, title).encode(), args.output)
    else:
        _list(chosen, args.output)
    return 0


def events_of(recording: Recording) -> list[Event]:
    """Return the events of a recording, as a page would be told them."""
    events: list[Event] = []
    story = Story([events.append])
    for item in recording.items:
        story(item)
    story.end(recording.length)
    return events


def _rows(text: str | None) -> range:
    if text is None:
        return range(1, sys.maxsize)
    first, dash, last = text.partition("-")
    if not first.isdecimal() or (dash and not last.isdecimal()):
        raise BadRecording(f"--rows {text}: expected numbers of packets, as 9-15")
    return range(int(first), int(last or first) + 1)


def _list(events: list[Event], output: str | None) -> None:
    if output is None:
        terminal = Terminal()
        for event in events:
            terminal(event)
        return
    with open(output, "w", encoding="utf-8") as file:
        terminal = Terminal(file)
        for event in events:
            terminal(event)


def _write(data: bytes, output: str | None) -> None:
    """Write to a file, or to the standard output; ValueError where that takes nothing."""
    try:
        if output is None:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
        else:
            Path(output).write_bytes(data)
            print(f"{output}: {len(data)} bytes", file=sys.stderr)
    except OSError as error:
        raise BadRecording(
            f"{output or 'the output'} can't be written: {error.strerror or error}"
        ) from None
