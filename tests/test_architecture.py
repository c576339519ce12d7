"""The house as docs/ARCHITECTURE.md draws it, read from the code: who imports whom, threads, locks,
broad excepts."""

from __future__ import annotations

import ast
import graphlib
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.patience import patience

from server.base.locks import LockOrderError, Rank, RankedLock

ROOT = Path(__file__).resolve().parent.parent
ENTRY_POINTS = {"chat_server", "chat_client"}
OURS = {
    "protocol",
    "incoming_text",
    "terminals",
    "server",
    "storage",
    "client",
    "webpage",
    "conformance",
    "benchmarks",
    "examples",
    "tests",
    *ENTRY_POINTS,
}

BASE = {"server.base", "protocol"}
NET = {"server.net", "server.base"}
STATE = {"server.state", *NET, "protocol", "storage"}
WRITING = {"server.writing", *STATE}
HANDLERS = {"server.handlers", *WRITING}
RUNNING = {"server.running", "server.archive", *HANDLERS}
"""The layers of the server, from the bottom: imports run downwards only."""

CLIENT_DATA = {"client.errors", "client.events", "client.records"}
CLIENT_INSIDE = {"client.session", "client.network", "client.base", *CLIENT_DATA}
CLIENT_FACE = {
    "client.connection",
    "client.source_files",
    "client.transfers",
    "client.transfer_state",
    "client.exit_status",
}

KIT = "conformance."
KIT_SHARED = {
    KIT + name
    for name in (
        "endings",
        "foreground",
        "packets",
        "transcript",
        "rules",
        "wire",
        "verdicts",
        "registry",
        "random_words",
    )
}
KIT_CASE = {KIT + "server." + name for name in ("target", "checks", "names", "user", "people")}
KIT_CLIENT = {KIT + "client." + name for name in ("process", "default_server", "scripted_server")}
"""What both wings of the kit use, and what the context of a case is made of in each."""

MAY_IMPORT: dict[str, set[str]] = {
    # The longest name that fits counts. What a package takes from itself is listed too.
    "protocol": set(),
    "incoming_text": set(),
    "terminals": set(),
    "storage": {"storage"},
    "server": set(),
    "server.base": BASE,
    "server.base.locks": set(),
    "server.base.limits": {"server.base.locks", "server.base.fair_line"},
    "server.base.refusals": {"protocol", "storage.errors"},
    "server.archive": {"server.archive", "server.base", "protocol", "storage"},
    "server.command_line": {
        "server.command_line",
        "server.archive",
        "server.base",
        "protocol",
        "storage",
        "incoming_text",
        "terminals",
    },
    "server.net": NET,
    "server.state": STATE,
    "server.writing": WRITING,
    "server.handlers": HANDLERS,
    "server.running": RUNNING,
    # The client from below: each row may use those above it.
    "client.base": {"client.base", "protocol"},
    "client.errors": {"client.base", "protocol"},
    "client.events": {"client.errors", "client.base"},
    "client.records": {"client.events"},
    "client.exit_status": {"client.base", "client.errors", "protocol"},
    "client.network": {"client.network", "client.base", *CLIENT_DATA, "protocol"},
    "client.session": {"client.session", "client.network", "client.base", *CLIENT_DATA, "protocol"},
    "client.connection": {*CLIENT_INSIDE, "protocol"},
    "client.transfer_state": {"client.connection", *CLIENT_INSIDE},
    "client.source_files": {"client.transfer_state", *CLIENT_INSIDE},
    "client.transfers": {
        "client.source_files",
        "client.transfer_state",
        "client.connection",
        *CLIENT_INSIDE,
        "protocol",
    },
    "client.scripts": {
        "client.scripts",
        *CLIENT_FACE,
        *CLIENT_INSIDE,
        "protocol",
        "incoming_text",
        "terminals",
    },
    "client.terminal": {
        "client.terminal",
        *CLIENT_FACE,
        *CLIENT_INSIDE,
        "protocol",
        "incoming_text",
        "terminals",
    },
    "client.command_line": {"client", "protocol", "incoming_text", "terminals"},
    "client": set(),
    # The kit from below; neither wing knows the other.
    "conformance.argument_types": set(),
    "conformance.command_words": set(),
    "conformance.endings": set(),
    "conformance.foreground": set(),
    "conformance.last_words": set(),
    "conformance.left_running": set(),
    "conformance.own_name": set(),
    "conformance.packets": set(),
    "conformance.random_words": set(),
    "conformance.text_files": set(),
    "conformance.transcript": set(),
    "conformance.rules": {KIT + "own_name"},
    "conformance.wire": {
        KIT + "endings",
        KIT + "foreground",
        KIT + "packets",
        KIT + "transcript",
    },
    "conformance.verdicts": {KIT + "rules", KIT + "transcript"},
    "conformance.free_choices": {
        KIT + "packets",
        KIT + "transcript",
        KIT + "wire",
    },
    "conformance.listing": {KIT + "registry", KIT + "rules"},
    "conformance.output_files": {
        KIT + "foreground",
        KIT + "progress",
        KIT + "reports",
        KIT + "verdicts",
    },
    "conformance.points": {KIT + "rules", KIT + "text_files"},
    "conformance.registry": {KIT + "rules", KIT + "verdicts"},
    "conformance.rule_dependencies": {KIT + "packets", KIT + "verdicts"},
    "conformance.reports": {KIT + "reports", KIT + "rules", KIT + "transcript", KIT + "verdicts"},
    "conformance.server.process": {
        KIT + "command_words",
        KIT + "foreground",
        KIT + "last_words",
        KIT + "left_running",
    },
    "conformance.server.names": set(),
    "conformance.server.target": {KIT + "server.process"},
    "conformance.server.checks": {KIT + "server.target", *KIT_SHARED},
    "conformance.server.user": {KIT + "server.checks", KIT + "server.target", *KIT_SHARED},
    "conformance.server.people": {*KIT_CASE, *KIT_SHARED},
    "conformance.server.extensions": {*KIT_CASE, *KIT_SHARED},
    "conformance.server.context": {KIT + "server.extensions", *KIT_CASE, *KIT_SHARED},
    "conformance.server.registry": {KIT + "server.context", KIT + "registry"},
    "conformance.server": {
        KIT + "own_name",
        KIT + "server",
        KIT + "command_words",
        KIT + "last_words",
        KIT + "rule_dependencies",
        *KIT_SHARED,
    },
    "conformance.client.process": {
        KIT + "text_files",
        KIT + "command_words",
        KIT + "last_words",
        KIT + "left_running",
    },
    "conformance.client.default_server": {KIT + "packets"},
    "conformance.client.scripted_server": {
        KIT + "foreground",
        KIT + "packets",
        KIT + "transcript",
    },
    "conformance.client.delivering": {KIT + "client.scripted_server", KIT + "packets"},
    "conformance.client.faulty_network": {KIT + "relay", KIT + "transcript"},
    "conformance.client.form": {KIT + "client.default_server", KIT + "packets"},
    "conformance.client.context": {
        KIT + "client.form",
        KIT + "client.delivering",
        KIT + "client.faulty_network",
        KIT + "relay.faults",
        *KIT_CLIENT,
        *KIT_SHARED,
    },
    "conformance.client.registry": {KIT + "client.context", KIT + "registry"},
    "conformance.client": {
        KIT + "own_name",
        KIT + "client",
        KIT + "relay",
        KIT + "command_words",
        KIT + "rule_dependencies",
        *KIT_SHARED,
    },
    "conformance.matrix": {
        KIT + "own_name",
        KIT + "matrix",
        KIT + "reports",
        KIT + "client",
        KIT + "command_words",
        *KIT_SHARED,
    },
    "conformance.relay": {
        KIT + "own_name",
        KIT + "relay",
        KIT + "foreground",
        "webpage",
        *KIT_SHARED,
    },
    "conformance.board.told": {KIT + "stages.plan", KIT + "verdicts"},
    "conformance.board.telling": {KIT + "reports", KIT + "verdicts"},
    "conformance.board": {
        KIT + "board",
        KIT + "own_name",
        KIT + "foreground",
        KIT + "reports",
        KIT + "stages.plan",
        "webpage",
        *KIT_SHARED,
    },
    "conformance.stages.plan": set(),
    "conformance.stages": {
        KIT + "stages",
        KIT + "own_name",
        KIT + "command_words",
        KIT + "board.told",
        KIT + "board.telling",
        KIT + "server",
        KIT + "reports",
        *KIT_SHARED,
    },
    "conformance.hand_ins": {
        KIT + "hand_ins",
        KIT + "own_name",
        KIT + "free_choices",
        KIT + "board.told",
        KIT + "board.telling",
        KIT + "command_words",
        KIT + "left_running",
        KIT + "points",
        KIT + "reports",
        *KIT_SHARED,
    },
    "conformance": {"conformance"},
    "webpage": {"webpage"},
    "benchmarks": {"benchmarks"},
    "server.program": {"server", "protocol", "storage", "incoming_text", "terminals"},
    "client.program": {"client", "protocol", "incoming_text", "terminals"},
    "chat_server": {"server.program"},
    "chat_client": {"client.program"},
    "examples": {"client"},
}
"""By module or package: what of ours it may import."""

MAY_CATCH_EVERYTHING = {
    "conformance.hand_ins.command": {"_outcome"},  # one hand-in never ends the others
    "server.base.threads": {"repeat"},  # a thread begins here
    "server.running.clients": {"_converse"},  # a thread begins here
    "server.running.from_outside": {
        "_tell",
        "_answer_or_say",
    },  # a defect of one act or errand of the command line is not the others'
    "server.state.downloads": {"_run"},  # a thread begins here
    "server.writing.writer": {
        "_look_after",
        "_write",
        "_tell",
        "_apply",
    },  # it must outlive a defect, and one change's is not the others'
    "server.running.conversation": {"_handle"},  # where foreign input meets all of our code
    "server.base.logs": {"emit", "_write"},  # logging must never end the caller's work
    "client.session.reader": {"_read"},  # a thread begins here
    "client.network.link": {"_send_all"},  # the same
    "client.terminal.transfer_queue": {"_work"},  # the same
    "client.terminal.event_display": {"_show"},  # the same: one event is not the others'
    "conformance.server.runner": {
        "_how_it_ended"
    },  # a case's defect is the kit's verdict "kit error", and the next case runs
    "conformance.client.runner": {"run_case"},  # the same
    "conformance.matrix.pair": {"_step"},  # the same
    "conformance.relay.traffic": {"_tell"},  # a defect of who looks on must not stop what passes
}
"""By module: the functions in which `except Exception` may stand."""


def modules() -> Iterator[tuple[str, Path]]:
    """Every module of the product, and the programs beside it, by its dotted name."""
    for top in sorted(OURS - {"tests"}):
        for path in sorted([*ROOT.glob(f"{top}.py"), *ROOT.glob(f"{top}/**/*.py")]):
            parts = path.relative_to(ROOT).with_suffix("").parts
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


MODULES = dict(modules())
PRODUCT = {
    name: path
    for name, path in MODULES.items()
    if name.split(".")[0] not in ("benchmarks", "examples")
}
TREES = {name: ast.parse(path.read_text("utf-8")) for name, path in MODULES.items()}


BY_NAME = ("__import__", "import_module", "importlib.import_module")


def imports_of(
    tree: ast.AST, name: str = "", is_package: bool = False
) -> Iterator[tuple[int, str]]:
    """Line and dotted name of everything that is imported, in functions and under TYPE_CHECKING
    too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            parts = name.split(".") if is_package else name.split(".")[:-1]
            base = ".".join(parts[: len(parts) - node.level + 1]) if node.level else ""
            source = ".".join(part for part in (base, node.module or "") if part)
            for alias in node.names:
                yield node.lineno, f"{source}.{alias.name}"
        elif (
            isinstance(node, ast.Call)
            and ast.unparse(node.func) in BY_NAME
            and isinstance(node.args[0], ast.Constant)
        ):
            yield node.lineno, str(node.args[0].value)


def rule_for(name: str) -> set[str]:
    """What of ours the module `name` may import."""
    parts = name.split(".")
    fits = (".".join(parts[:end]) for end in range(len(parts), 0, -1))
    return next(MAY_IMPORT[part] for part in fits if part in MAY_IMPORT)


def forbidden(name: str, imported: str) -> bool:
    """Whether the module `name` breaks the table by this import."""
    if imported.split(".")[0] not in OURS:
        return False
    return not any(
        imported == allowed or imported.startswith(allowed + ".") for allowed in rule_for(name)
    )


# --- Who imports whom -----------------------------------------------------------------------------


def test_every_module_is_read() -> None:
    assert {
        "protocol",
        "server",
        "server.handlers.rooms",
        "storage.database",
        "client.connection",
        *ENTRY_POINTS,
    } <= set(MODULES)


def test_each_module_imports_only_what_it_may() -> None:
    broken = [
        f"{name}, line {line}: {what}, but of ours only {sorted(rule_for(name))}"
        for name, tree in TREES.items()
        for line, what in imports_of(tree, name, MODULES[name].name == "__init__.py")
        if forbidden(name, what)
    ]
    assert not broken


def test_each_module_imports_only_the_standard_library_besides() -> None:
    foreign = [
        f"{name}, line {line}: {what}"
        for name, tree in TREES.items()
        for line, what in imports_of(tree, name)
        if what.split(".")[0] not in OURS | set(sys.stdlib_module_names)
    ]
    assert not foreign


def test_nobody_imports_the_entry_points() -> None:
    for name, tree in TREES.items():
        for line, what in imports_of(tree, name):
            assert what.split(".")[0] not in ENTRY_POINTS, f"{name}, line {line}"


@pytest.mark.parametrize(
    ("name", "text", "broken"),
    [
        ("storage.rooms", "import protocol", True),
        ("storage.rooms", "from protocol import Refusal", True),
        ("storage.rooms", "from storage import errors", False),
        ("storage.rooms", "from . import errors", False),
        ("storage.rooms", "from ..server import session", True),
        ("server.base.limits", "from server.base.locks import Rank", False),
        ("server.base.limits", "from server.state.session import Session", True),
        ("server.base.locks", "import server.base.limits", True),
        ("server.handlers.rooms", "def late():\n    from client import link", True),
        ("server.state.session", "import chat_server", True),
        ("server.state.session", "if TYPE_CHECKING:\n    from server.writing import writer", True),
        ("server.handlers.rooms", "from server.running.service import Service", True),
        ("server.handlers.rooms", "from server.writing.delivery import Delivery", False),
        ("server.net.outbox", "from storage import errors", True),
        ("server.command_line.admin", "from server.state.registry import Registry", True),
        (
            "client.network.link",
            "import importlib\nimportlib.import_module('server.base.locks')",
            True,
        ),
        ("client.network.link", "import socket, protocol", False),
        ("protocol", "import server", True),
        ("benchmarks.load", "import protocol", True),
        ("conformance.server.user", "from conformance.server import context", True),
        ("conformance.client.runner", "from conformance.server.runner import run", True),
        ("conformance.server.cases.rooms", "from conformance.server.context import x", False),
    ],
)
def test_a_forbidden_import_would_be_found(name: str, text: str, broken: bool) -> None:
    found = [what for _, what in imports_of(ast.parse(text), name)]
    assert any(forbidden(name, what) for what in found) == broken


def modules_imported_by(name: str) -> set[str]:
    """Return which modules of the product `name` imports, TYPE_CHECKING blocks included."""
    found = set()
    for _, what in imports_of(TREES[name], name, MODULES[name].name == "__init__.py"):
        parts = what.split(".")
        fits = (".".join(parts[:end]) for end in range(len(parts), 0, -1))
        module = next((part for part in fits if part in PRODUCT), None)
        if module is not None:
            found.add(module)
    return found


def test_the_imports_of_the_product_make_no_circle() -> None:
    graph = {name: modules_imported_by(name) for name in PRODUCT}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        pytest.fail(" <- ".join(error.args[1]))


def test_nobody_is_given_the_whole_service() -> None:
    for name in PRODUCT:
        if name.startswith("server.") and name not in ("server.running.service", "server.program"):
            assert "server.running.service" not in modules_imported_by(name), name


def test_who_needs_one_part_of_the_server_is_not_given_its_context() -> None:
    """Functions that stand in a table (handlers, those that tell of acts) all take the same."""
    for name in PRODUCT:
        for function in TREES[name].body if name.startswith("server.handlers.") else ():
            if not isinstance(function, ast.FunctionDef):
                continue
            named = [argument.arg for argument in function.args.args]
            if "context" not in named or named == ["context", "delivery", "act", "state"]:
                continue
            if any(_called(each).startswith("handles") for each in function.decorator_list):
                continue
            nodes = list(ast.walk(function))
            parts = [
                node.attr
                for node in nodes
                if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "context"
            ]
            mentions = sum(isinstance(node, ast.Name) and node.id == "context" for node in nodes)
            is_passed_on = mentions > len(parts)
            assert is_passed_on or len(set(parts)) > 1, f"{name}.{function.name} needs only {parts}"


# --- Threads, broad excepts -----------------------------------------------------------------------


def calls(tree: ast.AST, *names: str) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in names:
            yield node


def test_every_thread_has_a_name() -> None:
    count = 0
    for name in PRODUCT:
        for call in calls(TREES[name], "threading.Thread", "Thread", "threading.Timer", "Timer"):
            count += 1
            assert any(keyword.arg == "name" for keyword in call.keywords), (
                f"{name}, line {call.lineno}"
            )
    assert count >= 8


def test_the_server_takes_no_lock_but_ranked_ones() -> None:
    for name, tree in TREES.items():
        if name.startswith("server") and name != "server.base.locks":
            for call in calls(tree, "threading.Lock", "threading.RLock", "Lock", "RLock"):
                pytest.fail(f"{name}, line {call.lineno}: expected RankedLock")


def caught(handler: ast.ExceptHandler) -> set[str]:
    if handler.type is None:
        return {"everything"}
    types = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return {ast.unparse(kind) for kind in types}


def handlers_with_place(tree: ast.Module) -> Iterator[tuple[str, ast.ExceptHandler]]:
    """Every except clause with the name of the innermost function around it."""

    def walk(node: ast.AST, function: str) -> Iterator[tuple[str, ast.ExceptHandler]]:
        for child in ast.iter_child_nodes(node):
            inside = (
                child.name
                if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef))
                else function
            )
            if isinstance(child, ast.ExceptHandler):
                yield function, child
            yield from walk(child, inside)

    return walk(tree, "")


def test_everything_is_caught_only_where_it_may_be() -> None:
    found: dict[str, set[str]] = {}
    for name in PRODUCT:
        for function, handler in handlers_with_place(TREES[name]):
            if "Exception" in caught(handler):
                found.setdefault(name, set()).add(function)
    assert found == MAY_CATCH_EVERYTHING


def test_who_catches_even_the_end_of_the_program_raises_it_again() -> None:
    for name in PRODUCT:
        for _, handler in handlers_with_place(TREES[name]):
            assert "everything" not in caught(handler), (
                f"{name}, line {handler.lineno}: a bare except"
            )
            if "BaseException" in caught(handler):
                raises = any(isinstance(node, ast.Raise) for node in ast.walk(handler))
                assert raises, f"{name}, line {handler.lineno}: expected a raise"


# --- Secrets --------------------------------------------------------------------------------------

SECRETS = {"password", "new_password", "session_key", "token", "cookie"}


def test_no_record_shows_a_secret_in_its_repr() -> None:
    found = [
        (f"{name}, line {line.lineno}", line.value)
        for name in PRODUCT
        for record in TREES[name].body
        if isinstance(record, ast.ClassDef) and "dataclass" in map(_called, record.decorator_list)
        for line in record.body
        if isinstance(line, ast.AnnAssign) and ast.unparse(line.target) in SECRETS
    ]
    assert len(found) > 10
    for place, value in found:
        assert value is not None and "repr=False" in ast.unparse(value), place


def _called(decorator: ast.expr) -> str:
    return ast.unparse(decorator.func if isinstance(decorator, ast.Call) else decorator)


# --- Locks ----------------------------------------------------------------------------------------


def test_locks_may_be_taken_in_the_order_of_their_ranks() -> None:
    locks = [RankedLock(rank, rank.name) for rank in sorted(Rank)]
    for lock in locks:
        lock.acquire()
    assert all(lock.held_here() for lock in locks)
    for lock in locks:
        lock.release()
    assert not any(lock.held_here() for lock in locks)


@pytest.mark.parametrize(
    ("first", "second"),
    [(Rank.OUTBOX, Rank.REGISTRY), (Rank.DRAIN, Rank.DRAIN), (Rank.BUDGET, Rank.QUEUE)],
)
def test_a_lock_out_of_order_raises_and_names_both(first: Rank, second: Rank) -> None:
    held, wanted = RankedLock(first, "held one"), RankedLock(second, "wanted one")
    with held:
        with pytest.raises(
            LockOrderError,
            match=f"wanted one \\(rank {second.value}\\) taken while holding held one",
        ):
            wanted.acquire()
        assert not wanted.held_here()
    with wanted:
        assert wanted.held_here()


def test_a_lock_is_not_reentrant() -> None:
    lock = RankedLock(Rank.ROOMS, "rooms")
    with lock, pytest.raises(LockOrderError):
        lock.acquire()


def test_a_lock_has_what_conditions_of_newer_pythons_ask_for() -> None:
    """Since 3.14 `threading.Condition` takes `locked` of the lock that it is given."""
    lock = RankedLock(Rank.ROOMS, "rooms")
    changed = threading.Condition(lock)  # type: ignore[arg-type]  # has a lock's methods
    assert not lock.locked()
    with changed:
        assert lock.locked() and lock.held_here()


def test_what_one_thread_holds_does_not_bind_another() -> None:
    held, other = RankedLock(Rank.BUDGET, "held"), RankedLock(Rank.REGISTRY, "other")
    seen: list[bool] = []

    def take() -> None:
        with other:
            seen.append(held.held_here())
            seen.append(held.acquire(blocking=False))
            seen.append(held.acquire(timeout=0.01))

    with held:
        thread = threading.Thread(target=take, name="taker")
        thread.start()
        thread.join(patience(10))
    assert seen == [False, False, False]


def test_waiting_too_long_for_a_lock_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.base.locks.PATIENCE_SECONDS", 0.02)
    lock = RankedLock(Rank.ROOMS, "rooms")
    failures: list[str] = []

    def take() -> None:
        try:
            lock.acquire()
        except LockOrderError as error:
            failures.append(str(error))

    with lock:
        thread = threading.Thread(target=take, name="taker")
        thread.start()
        thread.join(patience(10))
    assert len(failures) == 1 and failures[0].startswith("rooms could not be had")


def test_a_condition_can_stand_on_a_ranked_lock() -> None:
    lock = RankedLock(Rank.QUEUE, "queue")
    changed = threading.Condition(lock)  # type: ignore[arg-type]
    seen: list[str] = []

    def wait() -> None:
        with changed:
            seen.append("waits")
            changed.notify_all()
            changed.wait_for(lambda: "go" in seen, patience(10))
            seen.append("done")

    thread = threading.Thread(target=wait, name="waiter")
    thread.start()
    with changed:
        assert changed.wait_for(lambda: "waits" in seen, patience(10))
        seen.append("go")
        changed.notify_all()
    thread.join(patience(10))
    assert seen == ["waits", "go", "done"]
