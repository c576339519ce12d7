"""Servers with a fault about messages."""

from __future__ import annotations

import unicodedata
from collections import Counter

from support.planted_faults.plant import plant
from support.reference_server import ReferenceServer
from support.reference_server.connection import Connection
from support.reference_server.records import Account, Message, Room, Transaction
from support.reference_server.words import Packet, Refusal


@plant("R-MSG-1")
class LettersOnly(ReferenceServer):
    """Only letters are counted: no blanks, no digits, no punctuation."""

    def count_letters(self, content: str) -> dict[str, int]:
        return dict(Counter(character for character in content if character.isalpha()))


@plant("R-MSG-1")
class CaseBlind(ReferenceServer):
    """`H` and `h` are counted together."""

    def count_letters(self, content: str) -> dict[str, int]:
        return dict(Counter(content.lower()))


@plant("R-MSG-1")
class Utf16Units(ReferenceServer):
    """Characters beyond U+FFFF are not counted as one: what JavaScript's text[i] gives."""

    def count_letters(self, content: str) -> dict[str, int]:
        units = content.encode("utf-16-le")
        return dict(
            Counter(
                units[at : at + 2].decode("utf-16-le", "replace") for at in range(0, len(units), 2)
            )
        )


@plant("R-MSG-1")
class Normalises(ReferenceServer):
    """The text is normalised before it is counted, so `e` + U+0301 becomes one character."""

    def count_letters(self, content: str) -> dict[str, int]:
        return dict(Counter(unicodedata.normalize("NFC", content)))


@plant("R-MSG-1")
class CountsPresence(ReferenceServer):
    """Every letter that is there counts 1."""

    def count_letters(self, content: str) -> dict[str, int]:
        return dict.fromkeys(content, 1)


@plant("R-MSG-2")
class DeliversAtOnce(ReferenceServer):
    """The message goes to the others before it is confirmed, and then is not sent again."""

    def answer_counts(self, connection: Connection, transaction_id: str, content: str) -> None:
        super().answer_counts(connection, transaction_id, content)
        sender = self.me(connection)
        transaction = connection.transactions[transaction_id]
        message = self.store(sender, transaction)
        super().deliver(sender, message)
        self.early = {**getattr(self, "early", {}), transaction_id: message}

    def do_confirm_count(self, connection: Connection, data: Packet) -> None:
        message = getattr(self, "early", {}).get(data["transaction_id"])
        if (
            data["transaction_id"] not in connection.transactions
            or message is None
            or not data["confirm"]
        ):
            return super().do_confirm_count(connection, data)
        del connection.transactions[data["transaction_id"]]
        self.acknowledge(connection, data["transaction_id"], message)


@plant("R-MSG-4", waits=True)
class ForgetsTheAck(ReferenceServer):
    """A confirmed message is stored and delivered, but never acknowledged."""

    def acknowledge(self, connection: Connection, transaction_id: str, message: Message) -> None:
        pass


@plant("R-MSG-4", waits=True)
class WrongRoom(ReferenceServer):
    """`receive_message` names the lobby, whatever the room was."""

    def received(self, account: Account, message: Message) -> Packet:
        packet = super().received(account, message)
        packet["data"]["room_id"] = "lobby"
        return packet


@plant("R-MSG-4")
class SaysWhoElse(ReferenceServer):
    """`sender_chatid` is the receiver's name."""

    def received(self, account: Account, message: Message) -> Packet:
        packet = super().received(account, message)
        packet["data"]["sender_chatid"] = account.name
        return packet


@plant("R-MSG-4")
class TrimsContent(ReferenceServer):
    """What is forwarded is stripped of blanks at both ends, and doubled ones are made one."""

    def received(self, account: Account, message: Message) -> Packet:
        packet = super().received(account, message)
        packet["data"]["content"] = " ".join(message.content.split()) or message.content
        return packet


@plant("R-MSG-5")
class StoresTheUnconfirmed(ReferenceServer):
    """`confirm: false` is taken for true."""

    def is_confirmed(self, transaction: Transaction, confirm: bool) -> bool:
        return True


@plant("R-MSG-8")
class IgnoresKeys(ReferenceServer):
    """`transaction_id` of `send_message` is ignored: T is always the server's own."""

    def do_send_message(self, connection: Connection, data: Packet) -> None:
        super().do_send_message(
            connection, {key: value for key, value in data.items() if key != "transaction_id"}
        )


@plant("R-MSG-9")
class StoresTwice(ReferenceServer):
    """A key whose message is stored already starts a new transaction."""

    def do_send_message(self, connection: Connection, data: Packet) -> None:
        self.kept_keys.clear()
        super().do_send_message(connection, data)


@plant("R-MSG-11")
class KeysOfAll(ReferenceServer):
    """Keys are the whole server's: another user's message of the same key is a mismatch."""

    def do_send_message(self, connection: Connection, data: Packet) -> None:
        key = data.get("transaction_id")
        for (_, kept), message in self.kept_keys.items():
            if kept == key:
                self.check_same(message, data["room_id"], data["content"])
        super().do_send_message(connection, data)


@plant("R-MSG-12")
class SenderAnswersToo(ReferenceServer):
    """The sender of a message may answer for it as a receiver may."""

    def message_to_answer(self, connection: Connection, transaction_id: str) -> Message:
        message = self.messages.get(transaction_id)
        if message is not None and message.sender == self.me(connection).name:
            return message
        return super().message_to_answer(connection, transaction_id)


@plant("R-MSG-13")
class LongContent(ReferenceServer):
    """Blanks alone are no content."""

    def do_send_message(self, connection: Connection, data: Packet) -> None:
        if not data["content"].strip():
            raise Refusal("bad_packet", "data.content is empty")
        super().do_send_message(connection, data)


@plant("R-MSG-14")
class UnreadIsAll(ReferenceServer):
    """`unread` counts every message of the room."""

    def unread(self, account: Account, room: Room) -> int:
        return len(room.messages)


@plant("R-MSG-15")
class OwnT2ForEach(ReferenceServer):
    """Each receiver gets another T2 for the same message."""

    def received(self, account: Account, message: Message) -> Packet:
        packet = super().received(account, message)
        packet["data"]["transaction_id"] = f"{message.t2}-{account.name}"
        return packet

    def message_to_answer(self, connection: Connection, transaction_id: str) -> Message:
        name = "-" + self.me(connection).name
        return super().message_to_answer(
            connection, transaction_id[: -len(name)] if transaction_id.endswith(name) else "none"
        )

    def reply(
        self,
        connection: Connection,
        action: str,
        message: str | None,
        data: Packet | None,
        status: str = "success",
        code: str = "",
    ) -> None:
        if action == "confirm_count" and data is not None:
            data = {
                **data,
                "transaction_id": f"{data['transaction_id']}-{self.me(connection).name}",
            }
        super().reply(connection, action, message, data, status, code)


@plant("R-MSG-16")
class NeverConfirms(ReferenceServer):
    """Right counts of a receiver are answered `confirm: false`."""

    def counts_are_right(self, message: Message, letter_frequencies: dict[str, int]) -> bool:
        return False


@plant("R-MSG-16")
class AlwaysConfirms(ReferenceServer):
    """Any counts of a receiver are answered `confirm: true`."""

    def counts_are_right(self, message: Message, letter_frequencies: dict[str, int]) -> bool:
        return True


@plant("R-MSG-16")
class ComparesSumsOnly(ReferenceServer):
    """Only the sum of the counts is compared."""

    def counts_are_right(self, message: Message, letter_frequencies: dict[str, int]) -> bool:
        return sum(letter_frequencies.values()) == len(message.content)


@plant("R-MSG-17")
class AckAnswered(ReferenceServer):
    """A client's `ack` is answered by an `ack`."""

    def do_ack(self, connection: Connection, data: Packet) -> None:
        super().do_ack(connection, data)
        self.reply(connection, "ack", "Thank you.", {"transaction_id": data["transaction_id"]})


@plant("R-MSG-18")
class NoSecondCopy(ReferenceServer):
    """`ack` with `error` brings no copy of the message."""

    def do_ack(self, connection: Connection, data: Packet) -> None:
        if data["status"] == "success":
            super().do_ack(connection, data)


@plant("R-MSG-21")
class ForwardsToSender(ReferenceServer):
    """The sender hears its own message."""

    def deliver(self, sender: Account, message: Message) -> None:
        super().deliver(sender, message)
        self.forward(sender, self.received(sender, message))
