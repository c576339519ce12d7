"""Cases for the chapter The teacher: roles, and what is refused to students."""

from __future__ import annotations

from conformance.endings import NotOffered
from conformance.server.context import ServerContext
from conformance.server.registry import case


def need_roles(context: ServerContext) -> None:
    """End the case as NOT OFFERED where the server knows no roles."""
    role = context.get(context.user().login_success, "data", dict).get("role")
    if role is None:
        raise NotOffered("a server whose `login_success` has `role`", "this one's has none")


@case(
    rules=["R-TEACH-1"],
    level="full",
    offers="limits",
    title="login_success tells the role, and who registers is a student",
)
def role_is_told(context: ServerContext) -> None:
    need_roles(context)
    role = context.get(context.user().login_success, "data.role", str)
    context.check(role in ("student", "teacher"), "`role` student or teacher", f"it is {role!r}")
    if context.offers("register"):
        account = context.account()
        with context.given("a new account"):
            guest = context.guest(account)
            reply = guest.login()
        if context.target.account_source == "register":
            context.equal(context.get(reply, "data.role", str), "student", "the role of a new name")


@case(
    rules=["R-TEACH-3"],
    level="full",
    offers=["limits", "register"],
    title="the names teacher, admin, server and system can't be registered",
)
def reserved_names(context: ServerContext) -> None:
    need_roles(context)
    for name in ("teacher", "Admin", "SERVER", "\uff53ystem"):
        reply = context.guest().request(
            "register", {"chatid": name, "password": context.password()}
        )
        context.equal(reply.get("action"), "register_fail", f"the answer to registering {name!r}")
        context.equal(context.get(reply, "code", str), "name_taken", "`code` of register_fail")
