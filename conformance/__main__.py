"""The command line of the kit: what is asked for, and the exit status.

Owns the options. Decides no verdict. One thread.

Exit status: 0 all rules that were looked at hold, 1 some do not, or none was looked at, 2 the
command line is wrong, 3 no server is there.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import random
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType

from conformance import foreground

if __name__ == "__main__":
    foreground.end_quietly()

from conformance import VERSION, free_choices, left_running, own_name, points, reports, starters
from conformance.argument_types import ModeParser, account, address, seconds
from conformance.board import command as board_command
from conformance.board import telling, told
from conformance.client import cases as client_cases
from conformance.client import runner as client_runner
from conformance.client.process import BadDriver
from conformance.foreground import Misuse
from conformance.hand_ins import command as class_command
from conformance.listing import listing
from conformance.matrix import runner as matrix_runner
from conformance.output_files import OutputPair, places, unwritable, write
from conformance.progress import Progress
from conformance.relay import command as relay_command
from conformance.relay import recording_command
from conformance.server import cases as server_cases
from conformance.server import runner as server_runner
from conformance.server.registry import Case as ServerCase
from conformance.stages import walk
from conformance.verdicts import EXIT_MISUSE, LEVELS, Outcome, Report

TIMEOUT_SECONDS = 5.0
DESCRIPTION = """Grade a chat server or client of docs/PROTOCOL.md, or watch one at work.

You write a server? Begin with `starter python`, then
`server localhost:0 --start-cmd "python server.py {port}" --stage next`
(`starter` writes the files and says the whole command)."""
EXAMPLES = own_name.named("""examples:
  python -m conformance server localhost:9876
  python -m conformance server localhost:9876 --level seed --account anna:secret \
--account ben:secret --account carl:secret
  python -m conformance server localhost:0 --level robust \
--start-cmd "python my_server.py --port {port} --data {data}"
  python -m conformance server localhost:9876 --report text --report html \
-o report.html --report gradescope -o results.json
  python -m conformance server localhost:9876 --rules "R-MSG-*" --list
  python -m conformance client -- python my_client.py
  python -m conformance matrix -- python my_server.py --port {port} -- python my_client.py
  python -m conformance class hand-ins --start-cmd "python server.py {port}" -o results
  python -m conformance board 0.0.0.0:8080
  python -m conformance relay 9875 localhost:9876

exit status: 0 all rules that were looked at hold, 1 some do not or none was, 2 misuse,
3 no server there""")

OTHER_MODES: Mapping[str, ModuleType] = {
    "class": class_command,
    "board": board_command,
    "relay": relay_command,
    "recording": recording_command,
    "starter": starters,
}
"""What has options of its own, by name."""


def _choosing() -> ModeParser:
    """Return the options that choose among cases."""
    choosing = ModeParser(add_help=False)
    choosing.add_argument(
        "--level",
        choices=LEVELS,
        default="full",
        help="seed: the 24 packets; full: extensions too (default); robust: bad input, rude peers",
    )
    choosing.add_argument(
        "--rules",
        metavar="GLOB",
        action="append",
        default=[],
        help="only cases about these rules, as R-MSG-* (may be repeated)",
    )
    choosing.add_argument(
        "--case", metavar="ID", action="append", default=[], help="only this case (may be repeated)"
    )
    choosing.add_argument(
        "--run-as",
        metavar="USER",
        default="",
        help="start the program under test as this user (for root alone), and end all that it "
        "leaves running",
    )
    telling.add_arguments(choosing)
    return choosing


def _shared() -> ModeParser:
    shared = ModeParser(add_help=False)
    shared.add_argument(
        "--seed",
        type=int,
        metavar="N",
        help="decides all names, texts and sizes (default: another one each time)",
    )
    shared.add_argument(
        "--timeout",
        type=seconds,
        metavar="S",
        help="longest wait for one answer (default 5, of a client 10)",
    )
    shared.add_argument(
        "--limit",
        type=seconds,
        metavar="S",
        help="longest time for the whole run (default: by level, 120, 240 or 480)",
    )
    shared.add_argument(
        "--points", metavar="FILE", help="points by rule: INI or JSON, as R-MSG-* = 3"
    )
    shared.add_argument(
        "--report",
        metavar="KIND",
        action=OutputPair,
        choices=reports.KINDS,
        help=f"{', '.join(reports.KINDS)} (may be repeated, each with its -o)",
    )
    shared.add_argument(
        "-o",
        metavar="FILE",
        action=OutputPair,
        dest="output",
        help="where the report before it goes (default: standard output)",
    )
    shared.add_argument(
        "--transcripts", action="store_true", help="keep the transcripts of passed cases too"
    )
    shared.add_argument(
        "--list", action="store_true", help="show rules, points and cases, and run nothing"
    )
    return shared


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    parser = argparse.ArgumentParser(
        prog=own_name.NAME,
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"conformance {VERSION}")
    modes = parser.add_subparsers(
        dest="mode",
        required=True,
        metavar="|".join(("server", "client", "matrix", *OTHER_MODES)),
        parser_class=ModeParser,
    )
    shared, choosing = _shared(), _choosing()
    raw = argparse.RawDescriptionHelpFormatter
    server = modes.add_parser(
        "server",
        parents=[choosing, shared],
        help="grade a server",
        allow_abbrev=False,
        epilog=EXAMPLES,
        formatter_class=raw,
    )
    _add_server_arguments(server)
    client = modes.add_parser(
        "client",
        parents=[choosing, shared],
        help="grade a client: client -- CMD …",
        allow_abbrev=False,
    )
    client_runner.add_arguments(client)
    both = modes.add_parser(
        "matrix",
        parents=[shared],
        help="theirs and ours, 2 x 2: matrix -- SERVER_CMD -- CLIENT_CMD",
        allow_abbrev=False,
    )
    matrix_runner.add_arguments(both)
    for name, module in OTHER_MODES.items():
        module.add_arguments(modes.add_parser(name, help=module.HELP, allow_abbrev=False))
    return parser


def _add_server_arguments(server: argparse.ArgumentParser) -> None:
    """Add what only the grading of a server takes."""
    server.add_argument(
        "target",
        nargs="?",
        type=address,
        metavar="HOST:PORT",
        help="where it listens; port 0 with --start-cmd takes a free one",
    )
    server.add_argument(
        "--account",
        metavar="NAME:PASSWORD",
        type=account,
        action="append",
        default=[],
        help="an account of it (may be repeated; 4 to 6 are enough)",
    )
    server.add_argument(
        "--teacher",
        metavar="NAME:PASSWORD",
        type=account,
        help="the account of a teacher, for the cases about what teachers do",
    )
    server.add_argument(
        "--start-cmd",
        metavar="CMD",
        default="",
        help="starts it; {port}, {host}, {data} are filled in; allows kill and restart; it runs "
        "with LC_ALL=C and in a time zone that is not UTC",
    )
    server.add_argument(
        "--likeness",
        metavar="FILE",
        help="write there, for the teacher alone, whether it is this project's own server or "
        "passes on to it, and how sure that is (- is standard output)",
    )
    server.add_argument(
        "--with",
        dest="own",
        metavar="FILE",
        help="the cases of this Python file and no others, as `recording --case` makes them",
    )
    walk.add_arguments(server)


def split_commands(words: Sequence[str]) -> list[list[str]]:
    """Return the words before, between and behind each `--`."""
    parts: list[list[str]] = [[]]
    for word in words:
        if word == "--":
            parts.append([])
        else:
            parts[-1].append(word)
    return parts


def _run(args: argparse.Namespace, progress: Callable[[Outcome], None]) -> Report:
    if args.mode == "client":
        return client_runner.run(args, progress)
    if args.mode == "matrix":
        return matrix_runner.run(args, progress)
    options, cases = _server_options(args), _server_cases(args)
    if not args.likeness:
        return server_runner.run(options, cases, progress)
    found: list[str] = ["nothing is known: the run was stopped, or nobody was there"]
    report = server_runner.run(
        options,
        cases,
        progress,
        lambda target: found.append(str(free_choices.ask(target.host, target.port))),
    )
    left_running.end_descendants()  # as before each report
    _tell_teacher(args.likeness, found[-1])
    return report


def _tell_teacher(place: str, remark: str) -> None:
    """Write what `--likeness` asks for; Misuse where that can't be."""
    if place == "-":
        print(f"for the teacher: {remark}", flush=True)
        return
    try:
        with reports.new_file(Path(place)) as file:
            file.write(remark + "\n")
    except OSError as error:
        raise Misuse(unwritable(error)) from None


def _server_options(args: argparse.Namespace) -> server_runner.Options:
    """Return what the grading of a server is told; Misuse where that can't be followed."""
    if args.commands:
        raise Misuse("server takes no command behind --: --start-cmd CMD starts one")
    if args.target is None:
        raise Misuse("server needs HOST:PORT, as localhost:9876")
    host, port = args.target
    if port == 0 and not args.start_cmd:
        raise Misuse("port 0 needs --start-cmd, which is told a free port by {port}")
    if port == 0 and "{port}" not in args.start_cmd:
        raise Misuse("{port} is missing in --start-cmd: a free port takes its place")
    again = [] if args.timeout is None else ["--timeout", f"{args.timeout:g}"]
    return server_runner.Options(
        host,
        port,
        args.level,
        args.seed,
        args.rules,
        args.case,
        args.account,
        args.timeout or TIMEOUT_SECONDS,
        run_seconds=args.limit,
        teacher=args.teacher,
        start_command=args.start_cmd,
        run_as=args.run_as,
        points=args.points,
        keep_transcripts=args.transcripts,
        again=again,
    )


def _server_cases(args: argparse.Namespace) -> list[ServerCase]:
    return server_cases.load_file(args.own) if args.own else server_cases.load()


def _listed(args: argparse.Namespace) -> str:
    if args.mode == "server" and args.stages:
        return walk.listing()
    if args.mode == "matrix":
        raise Misuse("matrix has no cases to list: server and client have")
    if args.mode == "client":
        return listing(client_cases.load(), client_runner.no_case, args)
    return listing(_server_cases(args), server_runner.no_case, args)


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says and return the exit status."""
    for name, mode in (
        ("stdin", "r"),
        ("stdout", "w"),
        ("stderr", "w"),
    ):  # closed (`>&-`), Python has none of them
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a code page of Windows lacks most letters
            stream.reconfigure(errors="backslashreplace")
    first, *commands = split_commands(sys.argv[1:] if arguments is None else arguments)
    parser = make_parser()
    try:
        args = parser.parse_args(first, argparse.Namespace(commands=commands, words=first))
    except SystemExit as end:
        return int(end.code or 0)
    if args.mode in OTHER_MODES:
        return _other(OTHER_MODES[args.mode].run, args)
    args.seed = random.SystemRandom().randrange(10**6) if args.seed is None else args.seed
    try:
        if args.mode == "server":
            walk.check(args)
        args.points = points.read(args.points) if args.points else {}
        if args.list or (args.mode == "server" and args.stages and args.target is None):
            return _show(_listed(args))
        if args.mode == "server" and (args.stages or args.stage):
            return walk.run(_server_options(args), _server_cases(args), args)
        return _graded(args)
    except (BadDriver, ValueError) as error:
        print(f"conformance: {error}", file=sys.stderr)
        return EXIT_MISUSE


def _graded(args: argparse.Namespace) -> int:
    """Run the cases and write the reports; return the exit status."""
    with contextlib.ExitStack() as stack:
        outputs = places(args, stack)
        files = (file for _, file in outputs if isinstance(file, str) and file != "-")
        progress = Progress(next(files, None))
        teller = stack.enter_context(telling.of_arguments(args))
        try:
            report = _run(args, teller.counting(progress))
            left_running.end_descendants()  # before anything is written, and for all time
        except KeyboardInterrupt:
            progress.done(keep=True)
            print("conformance: stopped", file=sys.stderr)
            return 130
        status = write(report, outputs, progress)
        if args.mode != "matrix":
            is_whole = not (args.rules or args.case or getattr(args, "own", None))
            teller.result(told.of_report(report, is_whole=is_whole))
        return status


def _other(run: Callable[[argparse.Namespace], int], args: argparse.Namespace) -> int:
    """Run a mode with options of its own; return the exit status."""
    try:
        if args.commands:
            raise ValueError(f"{args.mode} takes no command behind --")
        return run(args)
    except ValueError as error:
        print(f"conformance: {error}", file=sys.stderr)
        return EXIT_MISUSE


def _show(text: str) -> int:
    """Print a text; the exit status, which is that of misuse where stdout takes nothing."""
    try:
        print(text, end="", flush=True)
    except OSError as error:
        print(f"conformance: the list can't be written: {error.strerror or error}", file=sys.stderr)
        _flush()
        return EXIT_MISUSE
    return 0


def _flush() -> None:
    """Write out what is left; where nobody reads it, let Python not complain at its end."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def program() -> int:
    """Be the program of the command line, which starts nothing but programs under test."""
    left_running.adopt()
    foreground.hear_ctrl_c()
    foreground.hear_sigterm()
    try:
        return main()
    except KeyboardInterrupt:
        print("conformance: stopped", file=sys.stderr)
        return 130
    finally:
        _flush()


if __name__ == "__main__":
    sys.exit(program())
