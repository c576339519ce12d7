"""The command line of the relay: options, the first screen, and the end.

Owns the parts of one relay and the order in which they start and stop. Runs in the main thread
until Ctrl-C (or SIGTERM).
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import ssl
import sys
import threading
from collections.abc import Sequence
from typing import Final

from conformance import own_name
from conformance.foreground import Misuse, listening_address, refuse, wait
from conformance.relay.acts import Acts
from conformance.relay.connection import Target
from conformance.relay.faults import FORM, KINDS, BadFault, Fault, parse, read_file
from conformance.relay.playing import SPEEDS, Player
from conformance.relay.recording import Recorder
from conformance.relay.recording import read_file as read_recording
from conformance.relay.showing import links, obey_keys, open_page, refusal
from conformance.relay.station import Station
from conformance.relay.steering import Steering
from conformance.relay.story import Story
from conformance.relay.terminal import Terminal
from conformance.relay.traffic import Traffic

HELP: Final = "show, slow down and break what goes over the wire: relay PORT HOST:PORT"
DESCRIPTION: Final = """Stand between clients and a server, pass everything on, and show it.

Clients connect to [HOST:]PORT; the relay connects to TARGET for each of them. Nothing is changed
unless you ask for it, and the server may be any server, in any language."""
FAULTS: Final = (
    f"faults: {FORM}\n"
    + "\n".join(
        f"  {f'{name} {kind.value}'.strip():<12}{kind.does}" for name, kind in KINDS.items()
    )
    + """
  ACTION may hold * (file_*). Each user's messages are counted by themselves.
  In a file:  [any name]  and below it  fault = drop  action = confirm_count  to = server  every = 2
  (each on a line of its own)

"""
)
EXAMPLES: Final = own_name.named("""examples:
  python -m conformance relay 9875 localhost:9876
  python -m conformance relay 0.0.0.0:9875 localhost:9876    for other machines, too
  python -m conformance relay 9875 localhost:9876 --fault "drop confirm_count to=server every=2"
  python -m conformance relay 9875 localhost:9876 --page 8080 --record lesson.frames
  python -m conformance relay --play lesson.frames --speed 2 --page 8080

then start clients with the relay's port: python chat_client.py localhost:9875
exit status: 0 ended by Ctrl-C, 2 the command line can't be followed""")


YOUNG_OBJECTS: Final = 20_000
"""So many are made before the garbage collector looks for cycles: what is kept of packets has none,
and Python's default of 700 costs a tenth of the time."""
SWITCH_SECONDS: Final = 0.0002
"""Who passes bytes on waits at most so long for the GIL, which who looks at them holds (Python's
default is 0.005)."""


def target_address(text: str) -> tuple[str, int]:
    """Read HOST:PORT."""
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise argparse.ArgumentTypeError(f"{text!r}: expected HOST:PORT, as localhost:9876")
    return host.strip("[]"), int(port)


def one_fault(text: str) -> Fault:
    """Read a fault of the command line."""
    try:
        return parse(text)
    except BadFault as problem:
        raise argparse.ArgumentTypeError(str(problem)) from None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the relay."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description, parser.epilog = DESCRIPTION, FAULTS + EXAMPLES
    parser.add_argument(
        "listen",
        nargs="?",
        type=listening_address,
        metavar="[HOST:]PORT",
        help="where clients connect to (without HOST: from this machine only)",
    )
    parser.add_argument(
        "target", nargs="?", type=target_address, metavar="TARGET", help="the server, as HOST:PORT"
    )
    parser.add_argument(
        "--seed", type=int, metavar="N", default=1, help="decides all that is drawn by lot (1)"
    )
    parser.add_argument(
        "--faults", metavar="FILE", help="an INI file of faults, a section for each (see below)"
    )
    parser.add_argument(
        "--fault",
        metavar="FAULT",
        type=one_fault,
        action="append",
        default=[],
        help='one fault, as "drop confirm_count to=server every=2" (may be repeated)',
    )
    parser.add_argument(
        "--page",
        type=listening_address,
        metavar="[HOST:]PORT",
        help="show everything in a browser, too (port 0: a free one; without HOST: this machine)",
    )
    parser.add_argument("--step", action="store_true", help="hold each message until it is let go")
    parser.add_argument(
        "--record", metavar="FILE", help="keep all that passes, with times, in this file"
    )
    parser.add_argument("--play", metavar="FILE", help="show a recording (or a journal) again")
    parser.add_argument(
        "--speed", type=float, metavar="X", default=1.0, help="of --play: 0.1 to 10 times (1)"
    )
    parser.add_argument(
        "--quiet", action="store_true", help="print no line for each packet (so with --page)"
    )
    tls = parser.add_argument_group("TLS: the relay sees what is encrypted for others")
    tls.add_argument("--certfile", metavar="FILE", help="clients speak TLS: this certificate")
    tls.add_argument("--keyfile", metavar="FILE", help="and its key")
    tls.add_argument("--tls", action="store_true", help="the server speaks TLS")
    tls.add_argument("--cafile", metavar="FILE", help="trust what this certificate has signed")


def run(args: argparse.Namespace) -> int:
    """Run the relay, or a replay, until Ctrl-C; return the exit status. Raises `Misuse`."""
    sys.setswitchinterval(SWITCH_SECONDS)
    gc.set_threshold(YOUNG_OBJECTS)
    terminal = Terminal(is_quiet=args.quiet or args.page is not None)
    with contextlib.ExitStack() as stack:
        if args.play:
            return _play(args, terminal, stack)
        if args.listen is None or args.target is None:
            raise Misuse(
                "relay needs a port for clients and the address of a server, as: "
                f"{own_name.NAME} relay 9875 localhost:9876"
            )
        if args.step and args.page is None:
            raise Misuse("--step needs --page PORT: messages are let go there")
        station = _station(args, terminal, stack)
        stack.callback(terminal.end)
        stack.callback(station.close)
        target, listening = (
            ":".join(map(str, args.target)),
            f"{args.listen[0]}:{station.relay.port}",
        )
        acts = Acts(station.story, station.steering, station.relay, listening, target, refusal())
        page = open_page(args.page, station.story, acts, stack)
        terminal.say(_first_screen(args, station, links(page)))
        obey_keys(page, terminal)
        station.start()
        with contextlib.suppress(KeyboardInterrupt):
            wait(threading.Event())
    return 0


def _play(args: argparse.Namespace, terminal: Terminal, stack: contextlib.ExitStack) -> int:
    """Show a recording: on a page until Ctrl-C, else as lines until its end."""
    if not SPEEDS[0] <= args.speed <= SPEEDS[1]:
        raise Misuse(f"--speed {args.speed:g}: expected {SPEEDS[0]:g} to {SPEEDS[1]:g}")
    recording = read_recording(args.play)
    story = Story([terminal])
    traffic = Traffic([story], has_ticks=False)
    player = Player(recording, traffic, args.speed)
    steering = Steering(traffic)
    target = str(recording.about.get("target", "a server"))
    acts = Acts(story, steering, None, f"recording {args.play}", target, refusal(), player)
    page = open_page(args.page, story, acts, stack)
    terminal.say(
        f"{args.play}: {len(recording.items)} events in {recording.length:.1f} s, shown "
        f"{args.speed:g} times as fast{'' if page is None else ', once the page is opened'}. "
        "Ctrl-C ends it."
    )
    for line in links(page):
        terminal.say(line)
    obey_keys(page, terminal)
    traffic.start()
    stack.callback(terminal.end)
    stack.callback(lambda: story.end(recording.length))
    stack.callback(traffic.end)
    stack.callback(player.close)
    if page is None:
        player.start()  # else the first who looks starts it
    with contextlib.suppress(KeyboardInterrupt):
        wait(player.done if page is None else threading.Event())
    return 0


def _station(args: argparse.Namespace, terminal: Terminal, stack: contextlib.ExitStack) -> Station:
    target = Target(args.target[0], args.target[1], _tls_behind(args))
    faults = [*(read_file(args.faults) if args.faults else ()), *args.fault]
    front = _tls_in_front(args)
    recorders = [_recorder(args, str(target), faults, stack)] if args.record else []
    try:
        return Station(
            args.listen,
            target,
            listeners=[terminal],
            observers=recorders,
            faults=faults,
            seed=args.seed,
            is_stepping=args.step,
            front_tls=front,
        )
    except OSError as error:
        host, port = args.listen
        refuse(host, port, error, f"relay {port + 1 if port < 65535 else 9875} …")


def _recorder(
    args: argparse.Namespace, target: str, faults: Sequence[Fault], stack: contextlib.ExitStack
) -> Recorder:
    about = {"target": target, "seed": args.seed, "faults": [str(fault) for fault in faults]}
    try:
        recorder = Recorder(args.record, about)
    except OSError as error:
        raise Misuse(f"--record {args.record} can't be written: {error.strerror}") from error
    stack.callback(recorder.close)
    return recorder


def _tls_in_front(args: argparse.Namespace) -> ssl.SSLContext | None:
    if not args.certfile:
        if args.keyfile:
            raise Misuse("--keyfile needs --certfile FILE beside it")
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(args.certfile, args.keyfile)
    except (OSError, ValueError) as error:
        files = " and ".join(name for name in (args.certfile, args.keyfile) if name)
        raise Misuse(f"no certificate with its key can be read from {files}: {error}") from error
    return context


def _tls_behind(args: argparse.Namespace) -> ssl.SSLContext | None:
    if not (args.tls or args.cafile):
        return None
    try:
        return ssl.create_default_context(cafile=args.cafile)
    except (OSError, ValueError) as error:
        raise Misuse(f"--cafile {args.cafile} can't be read: {error}") from error


def _first_screen(args: argparse.Namespace, station: Station, shown: Sequence[str]) -> str:
    host, port = args.listen[0], station.relay.port
    target = f"{args.target[0]}:{args.target[1]}"
    lines = [f"relay listening on {host}:{port}; it passes everything on to {target}"]
    named = "THIS-MACHINE" if host in ("0.0.0.0", "::") else host
    lines.append(f"Now start clients with its port: python chat_client.py {named}:{port}")
    if host.startswith("127.") or host in ("localhost", "::1"):
        lines.append(f"(from this machine only; for a class: relay 0.0.0.0:{port} {target})")
    if args.record:
        lines.append(f"Recording into {args.record}; show it again with relay --play {args.record}")
    lines += shown
    if args.step:
        lines.append("Each message is held: let them go on the page, step by step.")
    faults = station.steering.faults.all()
    if faults:
        lines.append(f"Faults, repeatable with --seed {args.seed}:")
        lines += [
            f"  {fault}" + (f"    ({fault.name})" * bool(fault.name)) for _, fault, _ in faults
        ]
    return "\n".join([*lines, "Ctrl-C ends it.", ""])
