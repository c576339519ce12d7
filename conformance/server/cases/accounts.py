"""Cases for the chapter Accounts: register, names, passwords."""

from __future__ import annotations

import time
from typing import Any

from conformance.packets import FUTURE, Packet, shown
from conformance.server.cases.sessions import comes_free, log_in
from conformance.server.context import ServerContext
from conformance.server.registry import case
from conformance.server.target import Account


def register(context: ServerContext, name: Any, password: Any) -> Packet:
    """Try to register on a new connection; return whatever is answered."""
    guest = context.guest()
    reply = guest.request("register", {"chatid": name, "password": password})
    guest.close()
    return reply


@case(
    rules=["R-ACC-1"],
    level="full",
    offers="register",
    title="register makes an account and does not log in",
)
def makes_an_account(context: ServerContext) -> None:
    guest = context.guest()
    reply = guest.ask("register", {"password": guest.account.password})
    context.equal(context.get(reply, "data.chatid", str), guest.chatid, "`data.chatid`")
    context.refused(
        guest.request("get_messages", {"room_id": "lobby", "from_time": FUTURE}), "not_logged_in"
    )
    context.equal(
        guest.login().get("action"),
        "login_success",
        "`action` of the answer to the login of the new account",
    )


@case(
    rules=["R-ACC-2", "R-ERR-6"],
    level="full",
    offers="register",
    title="a name that is taken answers register_fail with code name_taken",
)
def name_taken(context: ServerContext) -> None:
    user = context.user()
    reply = register(context, user.chatid, context.password())
    context.equal(reply.get("action"), "register_fail", "`action` of the answer")
    with context.rule("R-ERR-6"):
        context.equal(context.get(reply, "code", str), "name_taken", "`code` of register_fail")


@case(
    rules=["R-ACC-3"],
    level="full",
    offers="first_login",
    title="a login with a new name makes the account, and the next one needs its password",
)
def first_login(context: ServerContext) -> None:
    guest = context.guest()
    context.equal(
        guest.login().get("action"), "login_success", "`action` of the answer to a new name"
    )
    guest.close()
    reply = context.guest(guest.account).login(password=context.password())
    context.equal(
        reply.get("action"),
        "login_fail",
        "`action` of the answer to that name with another password",
    )
    reply = context.guest(Account("a b/c", context.password())).login()
    context.refused(reply, "bad_packet")


@case(
    rules=["R-ACC-4"],
    level="full",
    offers="register",
    title="register while logged in: another's name is forbidden, one's own is taken",
)
def register_while_on(context: ServerContext) -> None:
    user = context.user()
    reply = user.request("register", {"chatid": context.name(), "password": context.password()})
    context.refused(reply, "forbidden")
    reply = user.request("register", {"chatid": user.chatid, "password": context.password()})
    context.equal(reply.get("action"), "register_fail", "`action` of the answer for one's own name")


@case(
    rules=["R-ACC-5"],
    level="full",
    offers="register",
    title="names of letters, digits, _ - . up to 32 characters are taken, in every script",
)
def good_names(context: ServerContext) -> None:
    tag = context.name("x")[-9:]
    longest = [letter * (32 - len(tag)) + tag for letter in "x\U00010428"]
    for name in (*longest, f"Zoë-1.{tag}", f"अनु{tag}", f"Ⅷ①{tag}", f".{tag}", f"-{tag}", f"1{tag}"):
        reply = register(context, name, context.password())
        context.equal(
            reply.get("action"), "register_success", f"`action` of the answer to the name {name!r}"
        )
        context.equal(context.get(reply, "data.chatid", str), name, "`data.chatid`")


@case(
    rules=["R-ACC-5"],
    level="full",
    offers="register",
    title="names that are empty, too long, or hold blanks, slashes or something invisible "
    "are bad_packet",
)
def bad_names(context: ServerContext) -> None:
    guest = context.guest()
    for name in (
        "",
        "x" * 33,
        "an na",
        " anna",
        "a/b",
        "a:b",
        "an\u200bna",
        "anna\ufe0f",
        "\u0301anna",
        "\ufb03" * 11,
        "a\nb",
        "anna\n",
        "a\u0000b",
        "\U0001f44d",
    ):
        reply = guest.request("register", {"chatid": name, "password": context.password()})
        context.check(
            reply.get("action") == "error",
            f"`error` for the name {name!r}",
            f"this came: {shown(reply)}",
        )
        context.refused(reply, "bad_packet", original="register")


@case(
    rules=["R-ACC-6"],
    level="full",
    offers=["register", "limits"],
    title="names are the same in every case and width, and are shown as they were registered",
)
def names_fold(context: ServerContext) -> None:
    account = Account(context.name("Annai"), context.password())
    with context.given("an account"):
        context.equal(
            register(context, account.chatid, account.password).get("action"),
            "register_success",
            "`action`",
        )
    wide = account.chatid.replace("A", "\uff21").replace("n", "\uff4e")
    for other in (account.chatid.upper(), wide):
        reply = register(context, other, context.password())
        context.equal(
            reply.get("action"),
            "register_fail",
            f"`action` of the answer to registering {other!r} beside {account.chatid!r}",
        )
    for another in (
        account.chatid.replace("a", "\xe1", 1),
        account.chatid.replace("i", "\u0131", 1),
    ):
        context.equal(
            register(context, another, context.password()).get("action"),
            "register_success",
            f"`action` of the answer to registering {another!r} beside {account.chatid!r}",
        )
    swapped = Account(account.chatid.swapcase(), account.password)
    user = log_in(context, swapped)
    context.equal(
        context.get(user.login_success, "data.chatid", str), account.chatid, "`data.chatid`"
    )
    if context.offers("session_key"):
        user = log_in(context, swapped, session_key=user.session_key)
        context.equal(
            context.get(user.login_success, "data.chatid", str),
            account.chatid,
            "`data.chatid` after a login with the key",
        )


@case(
    rules=["R-ACC-6"],
    level="full",
    offers=["register", "limits"],
    title="names are compared after casefold, which is more than small letters: `ß` is `SS`",
)
def names_casefold(context: ServerContext) -> None:
    name = context.name("Maß")
    with context.given("an account"):
        reply = register(context, name, context.password())
        context.equal(reply.get("action"), "register_success", "`action`")
    other = name.replace("ß", "SS")
    context.equal(
        register(context, other, context.password()).get("action"),
        "register_fail",
        f"`action` of the answer to registering {other!r} beside {name!r}",
    )


@case(
    rules=["R-ACC-7"],
    level="full",
    offers="register",
    title="a password has 1 to 128 characters without NUL",
)
def passwords(context: ServerContext) -> None:
    guest = context.guest()
    for password in ("", "p" * 129, "a\u0000b", 17, None):
        reply = guest.request("register", {"chatid": guest.chatid, "password": password})
        context.check(
            reply.get("action") == "error",
            f"`error` for the password {password!r}",
            f"this came: {shown(reply)}",
        )
        context.refused(reply, "bad_packet", original="register")
    account = Account(guest.chatid, ("é👍 " + "p" * 128)[:128])
    context.equal(
        register(context, account.chatid, account.password).get("action"),
        "register_success",
        "`action` for 128 characters",
    )
    log_in(context, account)


@case(
    rules=["R-ACC-9"],
    level="full",
    offers="change_password",
    title="change_password: the new one counts, and the session goes on",
)
def change_password(context: ServerContext) -> None:
    account = context.account(fresh=True)
    user = log_in(context, account)
    if context.offers("session_key"):  # what a login with the key has kept alive dies, too
        with context.given("a login with the session key"):
            user = log_in(context, account, session_key=user.session_key)
    new = Account(account.chatid, context.password())
    reply = user.ask(
        "change_password", {"password": account.password, "new_password": new.password}
    )
    context.equal(context.get(reply, "data.chatid", str), account.chatid, "`data.chatid`")
    user.ask("change_password", {"password": new.password, "new_password": new.password})
    again = user.request("get_messages", {"room_id": "lobby", "from_time": FUTURE})
    context.check(
        again.get("code") != "not_logged_in",
        "that the session goes on",
        f"this came: {shown(again)}",
    )
    user.close()
    guest = context.guest(account)
    if user.session_key and context.offers("session_key"):
        action = guest.login(session_key=user.session_key).get("action")
        context.equal(action, "login_fail", "`action` of the answer to the old key", "R-SESS-11")
    for pause in (0.0, 0.1, 0.3):  # until the server has heard of the end, any login fails
        time.sleep(pause)
        action = guest.login().get("action")
        context.equal(action, "login_fail", "`action` of the answer to the old password")
    comes_free(context, new)


@case(
    rules=["R-ACC-9"],
    level="full",
    offers="change_password",
    title="change_password with a wrong old password is forbidden and changes nothing",
)
def change_password_wrongly(context: ServerContext) -> None:
    account = context.account(fresh=True)
    user = log_in(context, account)
    reply = user.request(
        "change_password", {"password": context.password(), "new_password": context.password()}
    )
    context.refused(reply, "forbidden", original="change_password")
    user.close()
    again = comes_free(context, account)
    if context.offers("session_key"):
        again.request("change_password", {"password": "x", "new_password": context.password()})
        reply = context.guest(account).login(session_key=again.session_key)
        context.equal(reply.get("action"), "login_success", "the reply to the key after that")


@case(
    rules=["R-SESS-4"],
    level="full",
    offers="register",
    title="a password counts whole: every letter, its case and accent, and blanks around it",
)
def whole_passwords(context: ServerContext) -> None:
    right = f" {'Ab' * 48} {context.password()} éж "
    account = Account(context.name(), right)
    with context.given("an account"):
        reply = register(context, account.chatid, right)
        context.equal(reply.get("action"), "register_success", "the reply to `register`")
    for wrong, what in (
        (right[:8] + "x" * (len(right) - 8), "other characters behind the eighth"),
        (right.replace("éж", "éд"), "another Cyrillic letter, behind the 98th character"),
        (right.swapcase(), "capitals and small letters changed"),
        (right.rstrip(), "no blank behind it"),
    ):
        reply = context.guest(account).login(password=wrong)
        context.equal(reply.get("action"), "login_fail", f"the reply to a login with {what}")
    log_in(context, account)
