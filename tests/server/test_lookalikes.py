"""Names that look like a teacher's, or like a reserved one: no student has them (R-TEACH-3)."""

from __future__ import annotations

import pytest
from support.data_folder import Folder
from support.in_process import Serve, stranger

from server.base import lookalikes


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("te\u0430cher", "teacher"),
        ("\u0422\u0415\u0410\u0421\u041d\u0415R", "teacher"),
        ("adm\u0131n", "ADMIN"),
        ("syst\u00e9m", "system"),
        ("teacher\u1dc4", "teacher"),
        ("ad\u1abfm\u20d0\u05b4in", "admin"),
        ("ms_Iee", "ms_lee"),
        ("b0b", "BOB"),
        ("\u0391nna", "Anna"),
    ],
)
def test_letters_of_one_shape_have_one_skeleton(name: str, other: str) -> None:
    assert lookalikes.skeleton(name) == lookalikes.skeleton(other)


def test_names_that_look_different_have_two() -> None:
    names = ["teachers", "t-eacher", "\u0440\u0430\u043c\u0430", "\u0440\u043e\u043c\u0430"]
    names += ["\u0930\u093e\u092e", "\u0930\u092e\u093e", "anna", "anne"]  # vowels are marks there
    assert len({lookalikes.skeleton(name) for name in names}) == len(names)


@pytest.mark.parametrize("registration", ["open", "first-login"])
def test_a_name_that_looks_like_a_teachers_is_taken(serve: Serve, registration: str) -> None:
    service = serve(registration=registration)
    Folder(service.folder.path).done("adduser", "ms_lee", "--teacher")
    for name in ("ms_l\u0435e", "MS_IEE", "m\u0455_lee", "te\u0430cher", "teacher\u1dc4"):
        client = stranger(service)
        reply = client.register(name)
        assert (reply["action"], reply["code"]) == ("register_fail", "name_taken")
        assert client.login(name)["action"] == "login_fail"
    for name in ("mr_lee", "mr_l\u0435e"):  # students' names are nobody's concern
        assert stranger(service).register(name)["action"] == "register_success"
