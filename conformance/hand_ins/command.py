"""The command line of `class`: which hand-ins, how, what is shown meanwhile, and the end.

Owns the folder of results and the threads that grade. Decides no verdict.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Final

from conformance import command_words, own_name, points, reports
from conformance.board import telling
from conformance.foreground import SLICE_SECONDS
from conformance.hand_ins import likeness, tables
from conformance.hand_ins.grading import ROOT, Grader, How, Result
from conformance.hand_ins.hand_in import BadHandIn, HandIn, digest, read
from conformance.verdicts import EXIT_FAILS, EXIT_HOLDS, LEVELS

HELP: Final = "grade a class: class FOLDER -o OUT, a folder for each hand-in"
DESCRIPTION: Final = """Grade the servers of a class, a folder for each hand-in.

How a server is started stands in the file chat.ini of its folder, or behind --start-cmd:

  [chat]
  build = javac Server.java
  start = java Server {port}

{port}, {host} and {data} are filled in. Each is copied, built and started in its copy. Those who
may start programs here may do all that you may: use --run-as or --wrap for hand-ins of people
that you don't know."""
EPILOG: Final = own_name.named("""examples:
  python -m conformance class hand-ins --start-cmd "python server.py {port}" -o results
  python -m conformance class hand-ins -o results --resume
  python -m conformance class hand-ins -o results --run-as nobody
  python -m conformance class hand-ins -o results --wrap "docker run --rm --network host \
--memory 1g --pids-limit 64 -v {folder}:/work -w /work python:3"

In OUT: grades.csv, index.html for the teacher, and for each hand-in a folder with its reports.

exit status: 0 all were graded, 1 some could not be, 2 misuse, 130 stopped (--resume goes on)""")
OWN_SOURCES: Final = {
    "a starter": ("examples/starter",),
    "this project's server": ("server", "storage"),
}
"""What hand-ins are compared with besides each other: folders of the project by name."""
RESULT: Final = "result.json"
STOPPED: Final = 130


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `class`."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description, parser.epilog = DESCRIPTION, EPILOG
    add = parser.add_argument
    add("folder", metavar="FOLDER", type=Path, help="a folder that holds a folder for each")
    add("-o", dest="out", metavar="OUT", type=Path, required=True, help="folder for the results")
    add("--start-cmd", metavar="CMD", default="", help="starts a server, where no chat.ini says it")
    add("--build-cmd", metavar="CMD", default="", help="builds it before, through the shell")
    add("--jobs", type=_whole, metavar="N", default=_jobs(), help="at a time (here: %(default)s)")
    add("--resume", action="store_true", help="keep the results of hand-ins that did not change")
    add("--level", choices=LEVELS, default="full", help="as for server (default: full)")
    add("--rules", metavar="GLOB", action="append", default=[], help="only these rules")
    add("--points", metavar="FILE", help="points by rule: INI or JSON, as R-MSG-* = 3")
    add(
        *("--account",),
        metavar="NAME:PASSWORD",
        action="append",
        default=[],
        help="an account that each of them knows (may be repeated)",
    )
    add("--seed", type=_whole, metavar="N", default=1, help="the first seed (default: 1)")
    add("--runs", type=_whole, metavar="N", default=2, help="runs of each, seeds one up (2)")
    add("--take", choices=("best", "worst"), default="best", help="which run counts (best)")
    add("--limit", type=_whole, metavar="S", default=120, help="seconds for one run (120)")
    add("--timeout", type=_whole, metavar="S", default=0, help="longest wait for one answer (5)")
    add("--memory", type=_whole, metavar="MIB", default=1024, help="memory of a program (1024)")
    add("--processes", type=_whole, metavar="N", default=256, help="processes, threads (256)")
    add("--file-size", type=_whole, metavar="MIB", default=1024, help="largest file (1024)")
    add("--open-files", type=_whole, metavar="N", default=2048, help="files and sockets (2048)")
    telling.add_arguments(parser, has_name=False)
    add("--run-as", metavar="USER", default="", help="start them as this user (for root alone)")
    add(
        "--wrap",
        metavar="CMD",
        default="",
        help="a command before each start command, as a container's, instead of these limits; "
        "{folder} is filled in",
    )


def _whole(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number from 1")
    return int(text)


def _jobs() -> int:
    """Return how many are graded at a time: nine tenths of a run are waiting (measured with the
    starters)."""
    return 4 * (os.cpu_count() or 1)


def run(args: argparse.Namespace) -> int:
    """Grade all; return the exit status. ValueError where the command line can't be followed."""
    folders = _folders(args.folder)
    _make_ready(args.out, args.folder, args.resume)
    grader = Grader(_how(args), args.out)
    began = time.monotonic()
    results: dict[str, Result] = {}
    pool = ThreadPoolExecutor(args.jobs, thread_name_prefix="hand-in")
    try:
        with telling.of_arguments(args) as teller:
            futures = {pool.submit(_one, grader, folder, args): folder.name for folder in folders}
            for future in _finished(futures):
                result = _outcome(future, futures[future])
                results[result.name] = result
                _say(_line(result, len(results), len(folders)))
                if result.taken is not None:
                    teller.result(result.taken.told, result.name)
    except KeyboardInterrupt:
        pool.shutdown(wait=False, cancel_futures=True)
        grader.end()
        print("conformance: stopped; the same command with --resume goes on", file=sys.stderr)
        return STOPPED
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    ordered = [results[folder.name] for folder in folders]
    known = _known_sources()
    alike = _alike(folders, known)
    not_here = [name for name in OWN_SOURCES if name not in known]
    try:
        tables.write(args.out, ordered, alike, not_here)
    except OSError as error:  # as where Excel on Windows has grades.csv open
        raise ValueError(
            f"the table can't be written: {error}; all results are kept: close what has it open, "
            "and type the same with --resume"
        ) from None
    _say(_summary(ordered, args.out, time.monotonic() - began))
    return EXIT_FAILS if any(result.is_kit_fault for result in ordered) else EXIT_HOLDS


def _say(text: str) -> None:
    """Print a line. Where nobody reads any more (`| head`), the results are in OUT all the same."""
    with contextlib.suppress(OSError):
        print(text, flush=True)


def _finished(futures: Iterable[Future[Result]]) -> Iterator[Future[Result]]:
    """Yield each when it is done. (`as_completed` hears no Ctrl-C on Windows while it waits.)"""
    left = set(futures)
    while left:
        done, left = wait(left, SLICE_SECONDS, FIRST_COMPLETED)
        yield from done


def _folders(folder: Path) -> list[Path]:
    try:
        found = sorted(
            each for each in folder.iterdir() if each.is_dir() and not each.name.startswith(".")
        )
    except OSError as error:
        raise ValueError(f"{folder} can't be read: {error.strerror or error}") from None
    if not found:
        raise ValueError(f"{folder} holds no folders: it needs one for each hand-in")
    return found


def _make_ready(out: Path, folder: Path, resumes: bool) -> None:
    """Make the folder of results, before anything runs. ValueError where it can't be used."""
    if out.resolve() == folder.resolve() or folder.resolve() in out.resolve().parents:
        raise ValueError(f"-o {out}: choose a folder outside of {folder}, whose folders are graded")
    try:
        out.mkdir(parents=True, exist_ok=True)
        is_empty = not any(out.iterdir())
        (out / ".part").write_bytes(b"")
        (out / ".part").unlink()
    except OSError as error:
        raise ValueError(f"-o {out} can't be written: {error.strerror or error}") from None
    if not (is_empty or resumes):
        raise ValueError(f"-o {out} is not empty: choose another folder, or go on with --resume")


def _how(args: argparse.Namespace) -> How:
    if args.points:
        points.read(args.points)  # what is wrong with it is said now
    kit = ["--level", args.level]
    for option in ("rules", "account"):
        for value in getattr(args, option):
            kit += [f"--{option}", value]
    kit += ["--points", str(Path(args.points).resolve())] if args.points else []
    kit += ["--timeout", str(args.timeout)] if args.timeout else []
    limits = [
        f"--{name}={getattr(args, name.replace('-', '_'))}"
        for name in ("memory", "processes", "file-size", "open-files")
    ]
    limits.append(f"--cpu={args.limit * (os.cpu_count() or 1)}")
    return How(
        seeds=range(args.seed, args.seed + args.runs),
        takes_best=args.take == "best",
        kit=kit,
        limit_seconds=args.limit,
        limits=limits,
        wrap=command_words.split(args.wrap),
        run_as=args.run_as,
    )


def _one(grader: Grader, folder: Path, args: argparse.Namespace) -> Result:
    """Grade one hand-in, or take over what is known of it; its result is stored."""
    place = args.out / folder.name / RESULT
    try:
        hand_in: HandIn = read(folder, args.start_cmd, args.build_cmd)
        mark = digest(hand_in, repr(grader.how))
    except BadHandIn as problem:
        return _stored(Result(folder.name, "", why=str(problem)), place)
    known = _known(place) if args.resume else None
    if known is not None and known.digest == mark and not known.is_kit_fault:
        return known
    return _stored(grader.grade(hand_in, mark), place)


def _known(place: Path) -> Result | None:
    try:
        return Result.from_json(place.read_text("utf-8"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _stored(result: Result, place: Path) -> Result:
    place.parent.mkdir(parents=True, exist_ok=True)
    with reports.new_file(place) as file:
        file.write(result.to_json())
    return result


def _outcome(future: Future[Result], name: str) -> Result:
    """Return the result; a defect of ours with one hand-in never ends the run."""
    try:
        return future.result()
    except Exception as error:  # the others go on
        why = f"the kit failed: {type(error).__name__}: {error}"
        return Result(name, "", why=why, is_kit_fault=True)


def _alike(folders: Sequence[Path], known: Mapping[str, frozenset[int]]) -> list[likeness.Alike]:
    pieces = {}
    for folder in folders:
        try:
            pieces[folder.name] = likeness.pieces_of(folder)
        except (BadHandIn, OSError):
            continue
    return likeness.compare(pieces, known)


def _known_sources() -> dict[str, frozenset[int]]:
    """Return the pieces of the starters and of this project's server, where they lie beside the
    kit."""
    known = {}
    for name, places in OWN_SOURCES.items():
        pieces: frozenset[int] = frozenset()
        for place in places:
            if (ROOT / place).is_dir():
                pieces |= likeness.pieces_of(ROOT / place)
        if pieces:
            known[name] = pieces
    return known


def _line(result: Result, number: int, count: int) -> str:
    what = f"{result.percent:5.1f} %" if result.taken else "   -   "
    why = f"  {' '.join(result.why.split())[:100]}" if result.why else ""
    return f"{number:3}/{count} {what}  {_printable(result.name)}{_printable(why)}"


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _summary(results: Sequence[Result], out: Path, seconds: float) -> str:
    graded = sum(result.taken is not None for result in results)
    lines = [
        f"{graded} of {len(results)} graded in {seconds:.0f} s: {out / 'index.html'}, grades.csv"
    ]
    faults = [result.name for result in results if result.is_kit_fault]
    if faults:
        lines.append(f"the kit itself failed with {', '.join(faults)}: --resume tries them again")
    return "\n".join(lines)
