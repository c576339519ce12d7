"""Runs cases against one server, each within its deadline, and makes the report.

Owns the order of a run, its time limit, and the judgement of how a case ended. Never prints and
never writes a file: who calls it is told of each outcome as it comes. One thread.
"""

from __future__ import annotations

import contextlib
import secrets
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import final

from conformance import command_words, own_name, rule_dependencies
from conformance.endings import Ending, Failed, NotOffered, NotReached
from conformance.last_words import SHOWN_CHARACTERS
from conformance.registry import chosen, without_case
from conformance.rules import Rule
from conformance.server.context import ServerContext
from conformance.server.process import NotStarted, ServerCommand
from conformance.server.registry import Case
from conformance.server.target import Account, Target, tag_of
from conformance.server.user import User
from conformance.transcript import Line, Transcript
from conformance.verdicts import Outcome, Report, Verdict
from conformance.wire import CLOSED, WAS_CLOSED, Refused, Silence, Wire, WireProblem

RUN_SECONDS = {"seed": 120.0, "full": 240.0, "robust": 480.0}
"""The limit of a whole run, by level."""
CASE_SECONDS = 60.0
SILENT_CASES = 2
"""After so many cases without any answer at all since the run began it is stopped."""
DEAD_CASES = 3
"""After so many cases in a row without any answer the server is asked whether it still answers."""
NO_CASE = "no case looks at it"


def no_case(rule: Rule) -> str:
    """Return why a rule that could be seen has no case."""
    return NO_CASE


@dataclass(frozen=True)
class Options:
    """What to run against whom. `rules` are globs and `cases` ids, both empty for everything of the
    level and those below.

    `accounts` are (name, password), and so is `teacher`, whose account is a teacher's.
    `run_seconds` None is the level's usual limit. `run_as` is the user whom the server runs as.
    `again` are words of the command line that a repetition needs besides what is here. `points`
    are by rule id.
    """

    host: str
    port: int
    level: str = "full"
    seed: int = 0
    rules: Sequence[str] = ()
    cases: Sequence[str] = ()
    accounts: Sequence[tuple[str, str]] = ()
    timeout: float = 5.0
    case_seconds: float = CASE_SECONDS
    run_seconds: float | None = None
    start_command: str = ""
    teacher: tuple[str, str] | None = None
    run_as: str = ""
    points: Mapping[str, float] = field(default_factory=dict)
    keep_transcripts: bool = False
    again: Sequence[str] = ()

    @property
    def target(self) -> str:
        """`HOST:PORT`."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def run(
    options: Options,
    cases: Sequence[Case],
    on_outcome: Callable[[Outcome], None] = lambda outcome: None,
    at_end: Callable[[Target], None] = lambda target: None,
) -> Report:
    """Run these cases and report; a server that is absent, hung or crashes gives a complete report
    all the same.

    `on_outcome` is told of each outcome as it comes, in this thread, and `at_end` of the server
    while it still runs, unless the run was stopped. ValueError where options contradict each other.
    """
    with contextlib.ExitStack() as stack:
        one_run = _Run(options, cases, on_outcome, at_end)
        if options.start_command:
            try:
                process = stack.enter_context(
                    ServerCommand(
                        options.start_command, options.host, options.port, run_as=options.run_as
                    )
                )
            except NotStarted as error:
                return one_run.nobody_there(f"the server did not start: {error}")
            one_run.target.process, one_run.target.port = process, process.port
        return one_run.go()


@final
class _Run:
    """One run: its target, its clock, and what was found so far."""

    def __init__(
        self,
        options: Options,
        cases: Sequence[Case],
        on_outcome: Callable[[Outcome], None],
        at_end: Callable[[Target], None] = lambda target: None,
    ) -> None:
        self.options = options
        self.at_end = at_end
        self.cases = chosen(cases, options.level, options.rules, options.cases)
        self.every_case = cases
        self.on_outcome = on_outcome
        accounts = [Account(name, password, is_given=True) for name, password in options.accounts]
        tag = tag_of(options.seed)
        self.target = Target(options.host, options.port, options.timeout, accounts, tag=tag)
        if options.teacher is not None:
            self.target.teacher = Account(*options.teacher, is_given=False)
        if accounts and "{data}" not in options.start_command:
            self.target.own_tag()  # where accounts are, rooms of a run before may be
        self.began = time.monotonic()
        self.started = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        limit = RUN_SECONDS[options.level] if options.run_seconds is None else options.run_seconds
        self.limit = limit
        self.until = self.began + limit
        self.outcomes: list[Outcome] = []
        self.stopped = ""
        """Why the run goes no further."""
        self.received = 0
        self.unanswered = 0
        """Cases in a row in which nothing came."""
        self.waiting: list[ServerContext] = []
        """Of cases that began early."""
        self.idle: list[User] = []
        """Users that the cases share, free just now."""

    def nobody_there(self, why: str) -> Report:
        """Return the report of a run that never began."""
        self.target.note(why)
        self.stopped = why
        for this in self.cases:
            self._add(self._skipped(this))
        return self._report(no_server=True)

    def go(self) -> Report:
        """Run everything and return the report."""
        try:
            Wire.connect(
                self.target.host, self.target.port, Transcript(), "first", self.options.timeout
            ).close()
        except Refused as problem:
            return self.nobody_there(f"no server is there: {self._unreachable(problem)}")
        try:
            self._run_all()
        finally:
            for user in self.idle:
                user.close()
        if not self.stopped:
            self.at_end(self.target)
        return self._report()

    def _unreachable(self, problem: Refused) -> str:
        """Return why nobody is there, and what to do."""
        target, cause = f"{self.options.host}:{self.target.port}", problem.__cause__
        if not isinstance(cause, ConnectionRefusedError):
            return f"{target} can't be reached: {getattr(cause, 'strerror', None) or cause}"
        return (
            f"nobody listens on {target}. Start your server first, or let the kit start it: "
            'localhost:0 --start-cmd "python my_server.py {port}"'
        )

    def _run_all(self) -> None:
        gates = [this for this in self.cases if this.gate]
        early = [
            this
            for this in self.cases
            if this.early is not None and not this.gate and not this.last
        ]
        for this in gates:
            self._one(this)
        waiting = [(this, self._begin(this)) for this in early]
        self.waiting = [context for _, (context, _) in waiting if context is not None]
        for this in self.cases:
            if not this.gate and this.early is None and not this.last:
                self._one(this)
        for this, (context, outcome) in waiting:
            self.waiting = [each for each in self.waiting if each is not context]
            if context is None:
                context, outcome = self._begin(this, holds=True)
            self._one(this, context, outcome)
        for this in self.cases:
            if this.last:
                self._one(this)

    def _begin(
        self, this: Case, *, holds: bool = False
    ) -> tuple[ServerContext | None, Outcome | None]:
        """Call what a case has to begin early; return its context, and an outcome where it ended.

        No context where the case would keep given accounts from all others, unless it `holds`
        them: it begins in its turn then.
        """
        context = self._context(this)
        if self.stopped or this.early is None:
            return context, None
        early = this.early

        def begin(each: ServerContext) -> None:
            each.early = early(each)

        outcome = self._judged(this, context, begin)
        has_begun = outcome.verdict is Verdict.PASS
        if context.people.holds_given_accounts() and not holds:
            context.people.release(keep=has_begun)
            return None, None
        return context, None if has_begun else outcome

    def _context(self, this: Case) -> ServerContext:
        until = min(self.until, time.monotonic() + self.options.case_seconds)
        context = ServerContext(
            self.target,
            this.id,
            this.rules[0],
            seed=self.options.seed,
            until=until,
            level=self.options.level,
            idle=self.idle,
        )
        context.let_others_read = self._let_others_read
        return context

    def _one(
        self, this: Case, context: ServerContext | None = None, outcome: Outcome | None = None
    ) -> None:
        """Run one case, or say that it was not reached."""
        self._look_at_clock_and_process()
        if self.stopped:
            if context is not None:
                context.people.release(keep=False)
            self._add(outcome or self._skipped(this))
            return
        if context is None:
            context = self._context(this)
        else:
            context.people.extend(min(self.until, time.monotonic() + self.options.case_seconds))
        if outcome is None:
            outcome = self._with_last_words(self._judged(this, context, this.body), context)
        context.people.release(keep=outcome.verdict in (Verdict.PASS, Verdict.NOT_OFFERED))
        if self.target.process is not None and context.transcript.has_note(CLOSED):
            self.target.process.how_it_ended()  # where it ends, a connection is closed before
        self._add(outcome)
        self._let_others_read()
        for each in self.waiting:
            each.meanwhile()
        self._consider(this, outcome, context.transcript.received)

    def _let_others_read(self) -> None:
        """Take in what came to those who wait for a case, and to cases that began early."""
        for user in self.idle:
            user.wire.take_in()
        for each in self.waiting:
            each.people.keep_reading()

    def _look_at_clock_and_process(self) -> None:
        if not self.stopped and time.monotonic() >= self.until:
            self.stopped = f"the run's limit of {self.limit:g} s was over"
        process = self.target.process
        if self.stopped or process is None or process.is_running():
            return
        self.target.note(
            f"the server's process ended by itself (exit status {process.exit_status}) and "
            "was started again"
        )
        try:
            process.restart()
        except NotStarted as error:
            self.stopped = f"the server did not start again: {error}"

    def _consider(self, this: Case, outcome: Outcome, received: int) -> None:
        """Decide whether the run should go on after this."""
        self.received += received
        bad = outcome.verdict in (Verdict.FAIL, Verdict.NOT_REACHED)
        self.unanswered = self.unanswered + 1 if bad and not received else 0
        if this.gate and bad:
            self.stopped = f"{this.id} did not hold, and nothing works without it"
        elif not self.received and len(self.outcomes) >= SILENT_CASES and bad:
            self.stopped = "the server accepts connections and has not answered anything"
        elif self.unanswered >= DEAD_CASES:
            self.unanswered = 0
            if not self._answers():
                self.stopped = f"the server stopped answering ({this.id} was the last case)"

    def _hangs_since(self, problem: Ending) -> bool:
        """Return whether a server that has answered before answers nobody any more, where a case
        waited in vain for what it needed: that is its fault, whatever was needed."""
        cause: BaseException = problem
        while cause.__cause__ is not None:
            cause = cause.__cause__
        return self.received > 0 and isinstance(cause, Silence) and not self._answers()

    def _answers(self) -> bool:
        """Ask whether the server still says anything to a login, of another name each time: many
        failures of one are answered late (R-LIM-9)."""
        transcript = Transcript()
        until = min(self.until, time.monotonic() + self.options.timeout)
        try:
            wire = Wire.connect(
                self.target.host, self.target.port, transcript, "", self.options.timeout, until
            )
            wire.send(
                {
                    "action": "login",
                    "data": {"chatid": f"nobody_{secrets.token_hex(8)}", "password": "nobody"},
                }
            )
            with contextlib.suppress(WireProblem):
                wire.receive()
            wire.close()
        except WireProblem:
            return False
        return transcript.received > 0

    # --- judging

    def _judged(
        self, this: Case, context: ServerContext, body: Callable[[ServerContext], None]
    ) -> Outcome:
        """Run the body of a case and say how it ended."""
        began = time.monotonic()
        outcome = self._how_it_ended(context, body, this)
        passed = outcome.verdict in (Verdict.PASS, Verdict.NOT_OFFERED)
        keep = self.options.keep_transcripts or not passed
        return replace(
            outcome,
            transcript=self._transcript(context, passed=passed) if keep else (),
            again=self._again(this),
            seconds=round(time.monotonic() - began, 3),
        )

    def _transcript(self, context: ServerContext, *, passed: bool) -> tuple[Line, ...]:
        process, transcript = self.target.process, context.transcript
        if process is not None and not passed and transcript.has_note(CLOSED):
            process.let_it_print()
        printed = process.printed_since(transcript.began) if process is not None else ()
        return transcript.lines(printed)

    def _with_last_words(self, outcome: Outcome, context: ServerContext) -> Outcome:
        """Say in a failure how the server's process ended, or where it runs on and a connection was
        closed, what it printed last: where a handler crashed, that names the mistake. What was not
        reached is told by its reason alone, as the report counts those of one reason together."""
        process, told = self.target.process, ""
        if process is None or outcome.verdict not in (Verdict.FAIL, Verdict.NOT_REACHED):
            return outcome
        ended = process.how_it_ended()
        if ended:
            told = f"; the server's process {ended}"
        elif outcome.verdict is Verdict.FAIL and outcome.actual.startswith(WAS_CLOSED):
            lines = [line for _, line in process.printed_since(context.transcript.began)]
            last = next((line.strip() for line in reversed(lines) if line.strip()), "")
            told = f"; the server printed: {last[:SHOWN_CHARACTERS]}" if last else ""
        return replace(outcome, actual=outcome.actual + told) if told else outcome

    def _how_it_ended(
        self, context: ServerContext, body: Callable[[ServerContext], None], this: Case
    ) -> Outcome:
        passed = Outcome(this.id, this.rules, this.level, Verdict.PASS, this.title)
        rule = this.rules[0]
        try:
            context.need(*this.offers)
            body(context)
        except Ending as problem:
            late = isinstance(problem, (Failed, Silence)) and time.monotonic() >= self.until
            verdict = Verdict.NOT_REACHED if late else _VERDICTS.get(type(problem), Verdict.FAIL)
            if verdict is Verdict.NOT_REACHED and not late and self._hangs_since(problem):
                verdict = Verdict.FAIL
                problem.actual += f"; since `{context.checks.last_request}` nobody gets an answer"
            return replace(
                passed,
                verdict=verdict,
                rule_id=problem.rule or rule,
                expected=problem.expected,
                actual=f"the run's limit of {self.limit:g} s was over" if late else problem.actual,
                waits_for=problem.waits_for if isinstance(problem, NotReached) else "",
                is_asked=isinstance(problem, NotOffered) and problem.is_asked,
                request=context.checks.last_request,
            )
        except Exception:
            return replace(
                passed,
                verdict=Verdict.KIT_ERROR,
                rule_id=rule,
                expected="that the kit itself works",
                actual=traceback.format_exc(limit=-6),
            )
        return passed

    def _skipped(self, this: Case) -> Outcome:
        return Outcome(
            this.id,
            this.rules,
            this.level,
            Verdict.NOT_REACHED,
            this.title,
            this.rules[0],
            "to get as far as this",
            self.stopped,
            again=self._again(this),
        )

    def _again(self, this: Case) -> str:
        words = [
            *own_name.WORDS,
            "server",
            self.options.target,
            "--level",
            this.level,
            "--seed",
            str(self.options.seed),
        ]
        for name, _ in self.options.accounts:
            words += ["--account", f"{name}:PASSWORD"]
        if self.options.teacher is not None:
            words += ["--teacher", f"{self.options.teacher[0]}:PASSWORD"]
        if self.options.start_command:
            words += ["--start-cmd", self.options.start_command]
        if self.options.run_as:
            words += ["--run-as", self.options.run_as]
        return command_words.join([*words, *self.options.again, "--case", this.id])

    # --- the report

    def _add(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        self.on_outcome(outcome)

    def _report(self, *, no_server: bool = False) -> Report:
        if self.stopped and not no_server:
            self.target.note(f"stopped early: {self.stopped}")
        order = {this.id: place for place, this in enumerate(self.cases)}
        return Report(
            target=self.options.target,
            mode="server",
            level=self.options.level,
            seed=self.options.seed,
            started=self.started,
            seconds=round(time.monotonic() - self.began, 3),
            outcomes=tuple(
                sorted(
                    rule_dependencies.judged(self.outcomes),
                    key=lambda outcome: order[outcome.case_id],
                )
            ),
            rules_without_case=without_case(self.every_case, no_case),
            notes=tuple(self.target.notes),
            points=dict(self.options.points),
            no_server=no_server,
        )


_VERDICTS: dict[type, Verdict] = {
    NotReached: Verdict.NOT_REACHED,
    NotOffered: Verdict.NOT_OFFERED,
    Refused: Verdict.NOT_REACHED,
}
