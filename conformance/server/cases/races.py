"""Many at once: names, places and messages for which several connections race."""

from __future__ import annotations

from conformance.packets import REPLIES, Packet, letters, shown
from conformance.server.cases.messages.steps import heard_message, opened
from conformance.server.cases.sessions import log_in
from conformance.server.context import ServerContext
from conformance.server.registry import case
from conformance.server.target import Account
from conformance.server.user import User
from conformance.wire import Wire

RACERS = 6
REGISTRATIONS = 12
LOGINS = 3
MESSAGES = 60
"""Of each sender: fewer than may be open at once (R-MSG-7)."""
CONNECTIONS = 100
LATER = 50
"""Messages of each of two senders, within the burst of R-LIM-3."""


def replies(context: ServerContext, wires: list[Wire], action: str) -> list[Packet]:
    """Take one reply to a request of this action on each connection."""
    actions = REPLIES[action]
    patience = 6 * context.target.timeout  # for six passwords that are hashed in turn
    return [wire.expect(*actions, timeout=patience) for wire in wires]


@case(
    rules=["R-ACC-2"],
    level="robust",
    offers="register",
    title="of six who register one name at once, one has it, twelve times",
)
def one_name(context: ServerContext) -> None:
    wires = [context.connect() for _ in range(RACERS)]
    won: list[Account] = []
    for _ in range(REGISTRATIONS):
        tries = [Account(context.name("race"), context.password())]
        tries += [Account(tries[0].chatid, context.password()) for _ in wires[1:]]
        for wire, account in zip(wires, tries, strict=True):
            data = {"chatid": account.chatid, "password": account.password}
            wire.send({"action": "register", "data": data})
        answers = replies(context, wires, "register")
        won = [
            account
            for account, reply in zip(tries, answers, strict=True)
            if reply["action"] == "register_success"
        ]
        context.check(
            len(won) == 1,
            f"one `register_success` for six who want {tries[0].chatid}",
            f"{len(won)} came",
        )
    log_in(context, won[0])


@case(
    rules=["R-SESS-5"],
    level="robust",
    title="of six logins of one user at once, one succeeds, three times",
)
def one_place(context: ServerContext) -> None:
    for _ in range(LOGINS):
        account = context.account()
        data = {"chatid": account.chatid, "password": account.password}
        wires = [context.connect() for _ in range(RACERS)]
        for wire in wires:
            wire.send({"action": "login", "data": data})
        answers = replies(context, wires, "login")
        won = [reply for reply in answers if reply["action"] == "login_success"]
        context.check(len(won) == 1, "one `login_success` for six at once", f"{len(won)} came")
        for wire in wires:
            wire.close()


@case(
    rules=["R-ORDER-2"],
    level="robust",
    title="what several say at once, everybody hears in one and the same order",
)
def one_order_of_many(context: ServerContext) -> None:
    few = context.people.accounts_are_few()
    senders, hearers = context.users(2 if few else RACERS, own=True), context.users(2 if few else 3)
    room = context.room_id()
    with context.given("messages of several at once"):
        confirmed = [all_open(context, sender, room) for sender in senders]
        for sender, packets in zip(senders, confirmed, strict=True):
            sender.wire.send_together(packets, "many confirmations at once")
        for sender, packets in zip(senders, confirmed, strict=True):
            for _ in packets:
                sender.reply("confirm_count")
    count = sum(map(len, confirmed))
    heard = [[hearer.hear(room)["data"]["content"] for _ in range(count)] for hearer in hearers]
    for other in heard[1:]:
        place = next((at for at in range(count) if other[at] != heard[0][at]), count)
        context.check(
            place == count,
            "two hearers to hear the same messages in the same order",
            f"message {place + 1} of {count} is {shown(heard[0][place:][:1])} for one"
            f" and {shown(other[place:][:1])} for the other",
        )
    with context.given("the room's history"):
        told = [each["content"] for each in hearers[0].history(room)]
    context.equal(heard[0], told, "what was heard, compared with the history")


def all_open(context: ServerContext, sender: User, room: str) -> list[Packet]:
    """Open `MESSAGES` transactions at once; return the packets that confirm them."""
    texts = [f"{number} of {sender.chatid}" for number in range(MESSAGES)]
    sender.wire.send_together(
        [sender.packet("send_message", {"room_id": room, "content": text}) for text in texts]
    )
    tids = [
        context.get(sender.wire.expect("character_count"), "data.transaction_id", str)
        for _ in texts
    ]
    return [
        sender.packet("confirm_count", {"transaction_id": tid, "confirm": True}) for tid in tids
    ]


@case(
    rules=["R-LIM-10"],
    level="robust",
    title="a hundred connections at once are all answered, twice",
)
def hundred_connections(context: ServerContext) -> None:
    wires = [context.connect() for _ in range(CONNECTIONS)]
    question = {"action": "get_messages", "data": {"chatid": "anna", "room_id": "lobby"}}
    for _ in range(2):
        for wire in wires:
            wire.send(question)
        for number, wire in enumerate(wires, 1):
            wire.receive_where(
                lambda packet: True, f"an answer on connection {number} of {CONNECTIONS}"
            )
    for wire in wires:
        wire.close()


@case(
    rules=["R-MSG-15"],
    title="a message can be answered when a hundred others came after it",
)
def answered_after_a_hundred(context: ServerContext) -> None:
    first, second = context.users(2, own=True)
    hearer, room = context.user(own=True), context.room_id()
    heard = heard_message(context, hearer, first.say(room, context.text()))
    with context.given("a hundred messages"):
        for number in range(LATER):
            for sender in (first, second):
                sender.say(room, f"{number} later")
    reply = hearer.count_back(heard, letters(heard["data"]["content"]))
    context.equal(reply.get("action"), "confirm_count", "the answer to the counts of the first")
    context.equal(context.get(reply, "data.confirm", bool), True, "`data.confirm`")


@case(
    rules=["R-MSG-9"],
    level="full",
    offers="transaction_id",
    title="a key is remembered when a hundred other keys came after it",
)
def remembered_after_a_hundred(context: ServerContext) -> None:
    sender, room, content, key = context.user(own=True), context.room_id(), "first", context.key()
    with context.given("messages with keys of their own"):
        said = sender.say(room, content, transaction_id=key)
        for _ in range(2):
            keys = [context.key() for _ in range(LATER - 5)]
            for each in keys:
                opened(context, sender, room, each, transaction_id=each)
            for each in keys:
                sender.confirm(room, each, each)
    reply = sender.request(
        "send_message", {"room_id": room, "content": content, "transaction_id": key}
    )
    context.equal(reply.get("action"), "ack", "the reply to the key whose message is stored")
    context.equal(
        context.get(reply, "data.message_id", int), said.message_id, "`message_id` of that ack"
    )
