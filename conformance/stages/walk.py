"""Walk the stages against one server: earlier ones first, up to the first failure.

Prints as it goes. Decides no verdict: that is the runner's. One thread.
"""

from __future__ import annotations

import argparse
import re
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Final, TextIO

from conformance import command_words, own_name
from conformance.board import told
from conformance.board.telling import NOBODY, Teller, of_arguments
from conformance.registry import chosen
from conformance.reports.words import harmless, note_lines, story
from conformance.rules import RULES, Rule
from conformance.server import runner
from conformance.server.registry import Case
from conformance.stages.hints import ONE_AT_A_TIME, hint, is_served_alone
from conformance.stages.packets import examples_of
from conformance.stages.plan import STAGES, cases_of
from conformance.verdicts import EXIT_FAILS, EXIT_HOLDS, EXIT_NO_SERVER, Outcome, Report, Verdict

WIDTH: Final = 80
NEXT: Final = "next"
STOPPED: Final = 130
WORDS: Final = {
    "T": "(T is the `transaction_id` between the sender of a message and the server.)",
    "T2": "(T2 is the `transaction_id` of `receive_message`, between a receiver and the server.)",
}
NOT_WITH_STAGES: Final = (
    "--level",
    "--rules",
    "--case",
    "--report",
    "-o",
    "--points",
    "--transcripts",
    "--likeness",
    "--with",
)
"""Options that have no meaning for the stages, which choose their cases and print as they go."""
BAD: Final = (Verdict.FAIL, Verdict.NOT_REACHED, Verdict.KIT_ERROR)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the stages."""
    parser.add_argument(
        "--stage",
        type=stage_number,
        metavar=f"N|{NEXT}",
        help="for somebody who writes a server: run the stages up to this one, stop at what fails "
        "first, and show it",
    )
    parser.add_argument(
        "--stages",
        action="store_true",
        help="show the stages, and with HOST:PORT how far this server has come",
    )
    parser.add_argument(
        "--hint",
        nargs="?",
        type=int,
        choices=(1, 2, 3),
        const=1,
        default=0,
        help="with --stage: where to look; --hint 2 and 3 tell more",
    )


def check(args: argparse.Namespace) -> None:
    """Raise ValueError where options don't go together with those of the stages."""
    if args.hint and not args.stage:
        raise ValueError("--hint needs --stage, as in --stage next --hint")
    if not (args.stage or args.stages):
        return
    given = {"-o" if word.startswith("-o") else word.partition("=")[0] for word in args.words}
    wrong = [name for name in NOT_WITH_STAGES if name in given]
    wrong += ["--list"] if args.stage and args.list else []
    wrong += ["--stages"] if args.stage and args.stages else []
    if wrong:
        own = "--stage" if args.stage else "--stages"
        raise ValueError(
            f"{wrong[0]} does not go with {own}, which chooses the cases and prints what it finds: "
            "leave one of the two out"
        )


def run(options: runner.Options, cases: Sequence[Case], args: argparse.Namespace) -> int:
    """Do what --stage and --stages say; return the exit status."""
    try:
        with of_arguments(args) as teller:
            if args.stages:
                return overview(options, cases, teller=teller)
            return walk(options, cases, args.stage, args.hint, teller=teller, words=args.words)
    except KeyboardInterrupt:
        print("conformance: stopped", file=sys.stderr)
        return STOPPED


def listing() -> str:
    """Return what `--stages` shows without a server: all stages, their goals and minutes."""
    lines = []
    for number, stage in enumerate(STAGES, 1):
        head = f"{number:2}  {stage.word:<9} {stage.minutes:3} min  "
        lines += textwrap.wrap(
            stage.goal, WIDTH, initial_indent=head, subsequent_indent=" " * len(head)
        )
    return "\n".join(lines) + "\n"


def stage_number(text: str) -> int:
    """Read N, a stage's word, or `next`, which is as far as the server comes."""
    if text == NEXT:
        return len(STAGES)
    words = [stage.word for stage in STAGES]
    if text in words:
        return words.index(text) + 1
    if text.isdecimal() and 1 <= int(text) <= len(STAGES):
        return int(text)
    raise argparse.ArgumentTypeError(
        f"{text!r}: expected 1 to {len(STAGES)}, {NEXT}, or a word of {', '.join(words)}"
    )


def walk(
    options: runner.Options,
    cases: Sequence[Case],
    last: int,
    hints: int = 0,
    stream: TextIO | None = None,
    teller: Teller = NOBODY,
    words: Sequence[str] = (),
) -> int:
    """Run stages 1 to `last` and print how far they hold; return the exit status.

    `hints` is how many steps of the hint are shown for what failed first; `words` are those of
    the command line, which is shown again with the next hint.
    """
    tell = _teller(stream or sys.stdout)
    for number, report, failed in _up_to_a_failure(options, cases, last, teller):
        if report.no_server:
            tell(*note_lines(report))
            return EXIT_NO_SERVER
        if failed:
            _tell_failure(tell, number, last, failed, report, hints, words)
            return EXIT_FAILS
        why = _why_not_looked_at(report)
        if why:
            tell(*_not_looked_at(number, why))
            return EXIT_FAILS
        tell(f"stage {number:2} {STAGES[number - 1].word:<9} holds")
    tell("", *_after(last))
    return EXIT_HOLDS


def overview(
    options: runner.Options,
    cases: Sequence[Case],
    stream: TextIO | None = None,
    teller: Teller = NOBODY,
) -> int:
    """Run the stages up to the first that fails, and print all as a row of words."""
    tell = _teller(stream or sys.stdout)
    here, why = 0, ""
    for number, report, failed in _up_to_a_failure(options, cases, len(STAGES), teller):
        if report.no_server:
            tell(*note_lines(report))
            return EXIT_NO_SERVER
        why = _why_not_looked_at(report)
        if failed or why:
            here = number
    tell(*_wrapped([_in_the_row(number, here) for number in range(1, len(STAGES) + 1)]))
    if why:
        tell("", *_not_looked_at(here, why))
    elif here:
        tell("", f"next: --stage {here}: {STAGES[here - 1].goal}")
    return EXIT_FAILS if here else EXIT_HOLDS


def _in_the_row(number: int, here: int) -> str:
    word = STAGES[number - 1].word
    if not here or number < here:
        return f"{word} ok"
    return f"{word} <- here" if number == here else word


def _wrapped(words: Sequence[str]) -> tuple[str, ...]:
    lines = [""]
    for word in words:
        if lines[-1] and len(lines[-1]) + 3 + len(word) > WIDTH:
            lines.append("")
        lines[-1] += ("   " if lines[-1] else "") + word
    return tuple(lines)


def _teller(stream: TextIO) -> Callable[..., None]:
    def tell(*lines: str) -> None:
        for line in lines:
            encoding = getattr(stream, "encoding", None) or "utf-8"
            stream.write(line.encode(encoding, "backslashreplace").decode(encoding) + "\n")
        stream.flush()

    return tell


def _up_to_a_failure(
    options: runner.Options, cases: Sequence[Case], last: int, teller: Teller
) -> Iterator[tuple[int, Report, list[Outcome]]]:
    """Run the stages in order; yield each with its report and what failed, up to the first that
    does not hold: where something failed, or nothing could be looked at. How far it came is
    told."""
    seen: list[Outcome] = []
    ids = [case.id for case in chosen(cases, "robust", (), ())]
    for number in range(1, last + 1):
        own = replace(options, level="robust", rules=(), cases=tuple(cases_of(number, ids)))
        report = runner.run(own, cases, teller.case)
        failed = [outcome for outcome in report.outcomes if outcome.verdict in BAD]
        seen += report.outcomes
        is_over = bool(failed or _why_not_looked_at(report))
        if is_over or (number == last and not report.no_server):
            held = number - 1 if is_over else number
            teller.result(told.of_stages(held, [_first(failed)] if failed else [], seen))
        yield number, report, failed
        if is_over:
            return


def _why_not_looked_at(report: Report) -> str:
    """Return why no case of a stage could be looked at, "" where one could: such a stage does not
    hold."""
    if any(outcome.verdict is not Verdict.NOT_OFFERED for outcome in report.outcomes):
        return ""
    why = [f"this needs {each.expected}: {each.actual}" for each in report.outcomes]
    return why[0] if why else "it has no cases"


def _not_looked_at(number: int, why: str) -> list[str]:
    """Return lines that say that a stage was not looked at, and why."""
    text = f"stage {number:2} {STAGES[number - 1].word:<9} not looked at: {harmless(why)}"
    return textwrap.wrap(text, WIDTH, subsequent_indent="  ", break_on_hyphens=False)


def _tell_failure(
    tell: Callable[..., None],
    number: int,
    last: int,
    failed: Sequence[Outcome],
    report: Report,
    hints: int,
    words: Sequence[str],
) -> None:
    stage, first = STAGES[number - 1], _first(failed)
    was_before = number < last and last < len(STAGES)
    tell(
        f"stage {number:2} {stage.word:<9} does not hold yet"
        + (f" (it comes before stage {last}, so it is mended first)" if was_before else ""),
        "",
        *textwrap.wrap(f"{stage.goal} ({stage.minutes} minutes)", WIDTH),
        "",
        *(["Its packets, by example:", *examples_of(stage.packets), ""] if stage.packets else []),
        *textwrap.wrap(f"{harmless(first.title)} ({first.case_id})", WIDTH),
    )
    rule = RULES.get(first.rule_id)
    if rule is not None:
        tell(*_explained(rule))
    tell("", *story(replace(first, again=""), report, whole=""), "")
    if len(failed) > 1:
        others = ", ".join(outcome.case_id for outcome in failed if outcome is not first)
        tell(*textwrap.wrap(f"Not looked at before this holds: {others}", WIDTH), "")
    its_own = first.rule_id == first.rules[0]
    steps = hint(first.rule_id, first.case_id if its_own else "")
    if is_served_alone(first.transcript):
        steps.insert(0, ONE_AT_A_TIME)
    for place, step in enumerate(steps[:hints], 1):
        head = f"hint {place} of {len(steps)}: "
        tell(*textwrap.wrap(step, WIDTH, initial_indent=head, subsequent_indent="  "))
    if hints < len(steps):
        tell(f"stuck? {_with_hint(words, hints + 1)}")
    is_next = any(word in ("next", "--stage=next") for word in words)
    needs_folder = "{data}" in stage.goal and not any("{data}" in word for word in words)
    tell(
        "again: the same command"
        + ", with {data} behind {port} in --start-cmd" * needs_folder
        + ", or --stage next" * (not is_next)
    )


def _with_hint(words: Sequence[str], number: int) -> str:
    """Return the command line, of which `words` are all but the program, with that hint; the
    option alone where there are no words."""
    kept: list[str] = []
    for before, word in zip(("", *words), words, strict=False):
        is_number = before == "--hint" and word.isdecimal()
        if not is_number and word.partition("=")[0] != "--hint":
            kept.append(word)
    whole = [*(own_name.WORDS if kept else ()), *kept, "--hint"]
    return command_words.join(whole if number == 1 else [*whole, str(number)])


def _explained(rule: Rule) -> list[str]:
    """Return what a rule says, the rules that it names, and what T and T2 are where it speaks of
    them."""
    named = dict.fromkeys(re.findall(r"R-[A-Z]+-\d+", rule.sentence))
    told = [f"{rule.id}: {rule.sentence}"]
    told += [f"({name}: {RULES[name].sentence})" for name in named if name in RULES]
    told += [text for word, text in WORDS.items() if re.search(rf"\b{word}\b", rule.sentence)]
    return [line for text in told for line in textwrap.wrap(text, WIDTH, subsequent_indent="  ")]


def _first(failed: Sequence[Outcome]) -> Outcome:
    """Return what failed first: a failure before what could not be reached."""
    return next((each for each in failed if each.verdict is Verdict.FAIL), failed[0])


def _after(last: int) -> list[str]:
    if last == len(STAGES):
        return [
            "All stages hold: you have level seed. Try chat_client.py (or chat.pyz) with your",
            "server. Level full (--level full, without --stage) asks for more: the extensions.",
            "--level robust adds bad input and rude peers.",
        ]
    stage = STAGES[last]
    return textwrap.wrap(
        f"next: --stage {last + 1} ({stage.word}, {stage.minutes} minutes): {stage.goal}", WIDTH
    )
