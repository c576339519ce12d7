"""Grading a client: its program is started for each case, against a scripted server, and driven
through its standard input.

Owns the order of a run and its deadlines; the cases are in `conformance.client.cases`. Prints
nothing.

The command of the client may hold {host} {port} {user} {password} {room} {folder}, which are filled
in; the same values stand in the environment as CHAT_HOST, CHAT_PORT, CHAT_USER, CHAT_PASSWORD,
CHAT_ROOM and CHAT_FOLDER. {folder} is a fresh folder where fetched files may be put. What is typed
is said by a driver file; see `conformance.client.process`.
"""

from __future__ import annotations

import argparse
import dataclasses
import shutil
import time
from collections.abc import Callable, Sequence

from conformance import command_words, own_name, rule_dependencies
from conformance.client import cases
from conformance.client.context import ClientContext, Setting
from conformance.client.process import read_driver, split_command
from conformance.client.registry import Case
from conformance.endings import Failed, NotOffered, NotReached
from conformance.registry import chosen, without_case
from conformance.relay.faults import read_file as read_faults
from conformance.rules import Rule
from conformance.verdicts import Outcome, Report, Verdict

WAIT_SECONDS = 10.0
"""The longest single wait, unless `--timeout` says another; the first of each case, for the start
of the program, may take longer."""
CASE_SECONDS = 90.0
RUN_SECONDS = 480.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that only this mode has."""
    parser.add_argument(
        "--driver",
        metavar="FILE",
        help="what is typed into the client (INI); that of our own line client unless given",
    )
    parser.add_argument(
        "--faults",
        metavar="FILE",
        help="faults of the network meanwhile (INI), as for `relay`",
    )


def run(args: argparse.Namespace, on_outcome: Callable[[Outcome], None] | None = None) -> Report:
    """Grade the client that `args.commands[0]` starts; `on_outcome` is told of each case as it
    ends.

    Uses `commands`, `driver`, `level`, `seed`, `timeout`, `limit`, `rules`, `case`, `points` and
    `transcripts`; those that are None have their defaults. Raises `ValueError` for what does not
    exist.
    """
    words = _command(args.commands)
    faults = read_faults(args.faults) if args.faults else []
    setting = Setting(
        words,
        read_driver(args.driver),
        args.seed,
        args.timeout or WAIT_SECONDS,
        args.run_as,
        faults,
    )
    every = cases.load()
    picked = chosen(every, args.level, args.rules, args.case)
    started, began = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), time.monotonic()
    until = began + (args.limit or RUN_SECONDS)
    outcomes: list[Outcome] = []
    notes = [f"Under this fault of the network: {fault}." for fault in faults]
    why_not = ""
    for each in picked:
        outcome = (
            _skipped(each, why_not)
            if why_not
            else run_case(each, setting, until, keep=args.transcripts)
        )
        outcome = dataclasses.replace(outcome, again=_again(args, each, words))
        outcomes.append(outcome)
        if on_outcome is not None:
            on_outcome(outcome)
        if not why_not:
            why_not = _reason_to_stop(each, outcome, until)
            notes += [f"Stopped early: {why_not}."] if why_not else []
    return Report(
        target=command_words.join(words),
        mode="client",
        level=args.level,
        seed=args.seed,
        started=started,
        seconds=round(time.monotonic() - began, 3),
        outcomes=rule_dependencies.judged(outcomes),
        rules_without_case=without_case(every, no_case),
        notes=tuple(notes),
        points=args.points or {},
    )


def _command(commands: Sequence[Sequence[str]]) -> list[str]:
    """Return the words of the client's command; raises `ValueError`."""
    if len(commands) != 1 or not commands[0]:
        raise ValueError(f"expected: {own_name.NAME} client -- CMD …")
    words = split_command(commands[0])
    if "{" not in words[0] and shutil.which(words[0]) is None:
        raise ValueError(f"the command {words[0]!r} can't be found, or is no program")
    return words


def no_case(rule: Rule) -> str:
    """Return why a rule that could be seen has no case here."""
    return "binds the server" if rule.side == "server" else "has no case about clients"


def run_case(each: Case, setting: Setting, until: float, *, keep: bool = False) -> Outcome:
    """Run one case, however it ends; with `keep` the transcript stays where it passes too."""
    began = time.monotonic()
    context = ClientContext(
        setting, each.id, each.level != "seed", min(until, began + CASE_SECONDS)
    )
    verdict, rule, expected, actual = Verdict.PASS, "", "", ""
    try:
        each.body(context)
    except Failed as problem:
        verdict, rule, expected, actual = (
            Verdict.FAIL,
            problem.rule or each.rules[0],
            problem.expected,
            problem.actual,
        )
    except NotReached as problem:
        verdict, expected, actual = Verdict.NOT_REACHED, problem.expected, problem.actual
    except NotOffered as problem:
        verdict, expected, actual = Verdict.NOT_OFFERED, problem.expected, problem.actual
    except Exception as problem:
        verdict, expected, actual = (
            Verdict.KIT_ERROR,
            "the kit to work",
            f"{type(problem).__name__}: {problem}",
        )
    finally:
        if verdict in (Verdict.FAIL, Verdict.NOT_REACHED):
            ended = context.how_it_ended()
            actual += f"; the client {ended}" if ended else ""
        context.close()
    lines = context.transcript.lines() if keep or verdict is not Verdict.PASS else ()
    return Outcome(
        each.id,
        each.rules,
        each.level,
        verdict,
        each.title,
        rule,
        expected,
        actual,
        lines,
        seconds=round(time.monotonic() - began, 3),
    )


def _skipped(each: Case, why: str) -> Outcome:
    return Outcome(
        each.id,
        each.rules,
        each.level,
        Verdict.NOT_REACHED,
        each.title,
        "",
        "a client that logs in",
        why,
    )


def _reason_to_stop(each: Case, outcome: Outcome, until: float) -> str:
    if each.gate and outcome.verdict is not Verdict.PASS:
        return "the client does not log in, so nothing else can be tried"
    return "the time for the whole run is over" if time.monotonic() > until else ""


def _again(args: argparse.Namespace, each: Case, words: Sequence[str]) -> str:
    options = ["--seed", str(args.seed), "--case", each.id]
    if args.timeout:
        options += ["--timeout", f"{args.timeout:g}"]
    if args.driver:
        options += ["--driver", args.driver]
    if args.faults:
        options += ["--faults", args.faults]
    if args.run_as:
        options += ["--run-as", args.run_as]
    return command_words.join([*own_name.WORDS, "client", *options, "--", *words])
