"""What protects a page, point by point as SECURITY.md lists it, over raw sockets."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import re
import socket
import struct
import sysconfig
import threading
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from support.page_client import Answer, PageClient, read_answer
from support.patience import patience

from webpage import Page, gate, listening, requests
from webpage import pace as pace_module
from webpage.pace import Pace

GIB = 1 << 30
LINGER_ZERO = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)  # close() sends a reset


@pytest.fixture
def control(page: Page) -> PageClient:
    client = PageClient(page.link)
    assert client.enter().status == 200
    return client


@pytest.fixture
def wall(page: Page) -> PageClient:
    client = PageClient(page.wall_link)
    assert client.enter().status == 200
    return client


def says(answer: Answer) -> str:
    return str(answer.json["error"])


# --- The token and the cookie ---------------------------------------------------------------------


def test_a_token_has_192_bits_and_is_only_in_the_fragment(page: Page) -> None:
    for link in (page.link, page.wall_link):
        assert re.fullmatch(rf"http://127\.0\.0\.1:{page.port}/#[\w-]{{32}}", link)
    assert page.link != page.wall_link
    assert gate.TOKEN_BYTES * 8 == 192


def test_a_page_listens_on_this_machine_only_unless_told(page: Page) -> None:
    assert page.link.startswith("http://127.0.0.1:")


def test_the_cookie_is_kept_from_scripts_and_from_other_sites(page: Page) -> None:
    answer = PageClient(page.link).enter()
    name, *attributes = answer.headers["set-cookie"].split("; ")
    assert name.startswith(f"webpage-{page.port}-control=")
    assert sorted(attributes) == ["HttpOnly", "Max-Age=43200", "Path=/", "SameSite=Strict"]
    assert page.link.partition("#")[2] not in answer.headers["set-cookie"]


def test_without_the_cookie_nothing_is_told(page: Page) -> None:
    client = PageClient(page.link)
    with client.watch() as watch:
        assert watch.status == 401
    assert client.act("double", {"n": 1}).status == 403
    client.cookie = f"webpage-{page.port}-control={client.token}"
    with client.watch() as watch:
        assert watch.status == 401, "the token is not the cookie"


def test_the_cookie_alone_is_not_enough_for_an_act(control: PageClient) -> None:
    assert control.act("double", {"n": 21}).json == {"twice": 42}
    assert control.act("double", {"n": 21}, X_Page_Token=None).status == 403
    assert control.act("double", {"n": 21}, X_Page_Token="A" * 32).status == 403


@pytest.mark.parametrize("token", [None, "", "A" * 32, "ä" * 32, "x" * 10_000])
def test_a_wrong_token_is_refused(page: Page, token: str | None) -> None:
    answer = PageClient(page.link).enter(X_Page_Token=token)
    assert answer.status == 403 and "set-cookie" not in answer.headers
    assert "earlier run" in says(answer)


@pytest.mark.parametrize("cookie", ["", "webpage", "a=b; c=d", "=;=", 'x="\\777";' * 50, "ä=ä"])
def test_a_wrong_cookie_is_refused(page: Page, control: PageClient, cookie: str) -> None:
    control.cookie = cookie
    with control.watch() as watch:
        assert watch.status == 401


def test_a_link_that_was_used_controls_no_second_browser(page: Page, control: PageClient) -> None:
    answer = PageClient(page.link).enter()
    assert answer.status == 403 and "used by another browser" in says(answer)
    assert control.enter().status == 200, "the same browser may open it again"


def test_two_browsers_that_use_a_link_at_once_do_not_both_control(page: Page) -> None:
    answers: list[int] = []

    def enter() -> None:
        answers.append(PageClient(page.link).enter().status)

    threads = [threading.Thread(target=enter, name=f"browser-{each}") for each in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(patience(10))
    assert sorted(answers) == [200] + [403] * 7


def test_a_new_link_ends_the_old_one(page: Page, control: PageClient) -> None:
    page.renew_link()
    assert control.act("double", {"n": 1}).status == 403
    with control.watch() as watch:
        assert watch.status == 401
    assert control.enter().status == 403
    newcomer = PageClient(page.link)
    assert newcomer.enter().status == 200
    assert newcomer.act("double", {"n": 1}).json == {"twice": 2}


def test_a_second_viewer_sees_the_same(page: Page, wall: PageClient) -> None:
    second = PageClient(page.wall_link)
    assert second.enter().status == 200
    with wall.watch("view") as one, second.watch("view") as other:
        for watch in (one, other):
            assert watch.next()["role"] == "view"
        page.publish({"kind": "x", "n": 1})
        assert one.next() == other.next() == {"kind": "x", "n": 1}


def test_the_wall_may_only_look(wall: PageClient) -> None:
    assert wall.act("double", {"n": 21}).json == {"twice": 42}
    answer = wall.act("wipe")
    assert answer.status == 403 and "looking on" in says(answer)
    with wall.watch("control") as watch:
        assert watch.status == 401
    with wall.watch("nobody") as watch:
        assert watch.status == 401


def test_the_walls_token_with_the_cookie_of_control_is_the_walls(
    page: Page, control: PageClient, wall: PageClient
) -> None:
    mixed = wall.act("wipe", Cookie=control.cookie)
    assert mixed.status == 403
    both = wall.act("wipe", Cookie=f"{control.cookie}; {wall.cookie}")
    assert both.status == 403


def test_cookies_of_other_programs_of_this_machine_do_no_harm(control: PageClient) -> None:
    others = 'theme={"a": 1}; x="; y=\\; =; ä=ö; '
    assert control.act("double", {"n": 1}, Cookie=others + control.cookie).status == 200


# --- Where a request comes from -------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:{port}",
        "127.0.0.1",
        "127.0.0.1:1",
        "127.0.0.1.evil:{port}",
        "",
    ],
)
def test_another_host_is_refused(page: Page, control: PageClient, host: str) -> None:
    host = host.format(port=page.port)
    for answer in (
        control.ask("GET", "/", Host=host),
        control.ask("GET", "/events?as=control", Host=host),
        control.act("double", {"n": 1}, Host=host, Origin=f"http://{host}"),
    ):
        assert answer.status == 421
        assert b"A page" not in answer.body


@pytest.mark.parametrize("host", ["localhost:{port}", "LOCALHOST:{port}", "[::1]:{port}"])
def test_this_machine_has_more_than_one_name(page: Page, host: str) -> None:
    client = PageClient(page.link)
    host = host.format(port=page.port)
    assert client.ask("GET", "/", Host=host, Origin=None).status == 200
    assert client.enter(Host=host, Origin=f"http://{host}".lower()).status == 200


def test_a_request_names_one_host(page: Page) -> None:
    host = f"Host: 127.0.0.1:{page.port}\r\n".encode()
    client = PageClient(page.link)
    assert client.raw(b"GET / HTTP/1.1\r\n\r\n").status == 400
    assert client.raw(b"GET / HTTP/1.1\r\n" + host + b"Host: evil\r\n\r\n").status == 400
    assert client.raw(b"GET / HTTP/1.0\r\n\r\n").status == 400


@pytest.mark.parametrize(
    "origin",
    ["http://evil.example", "null", "https://127.0.0.1:{port}", "http://127.0.0.1:1", ""],
)
def test_another_origin_is_refused(page: Page, control: PageClient, origin: str) -> None:
    origin = origin.format(port=page.port)
    assert control.act("double", {"n": 1}, Origin=origin).status == 403
    assert control.enter(Origin=origin).status == 403
    assert control.ask("GET", "/events?as=control", Origin=origin).status == 403


def test_a_post_tells_its_origin(control: PageClient) -> None:
    assert control.act("double", {"n": 1}, Origin=None).status == 403
    assert control.enter(Origin=None).status == 403


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_another_site_is_refused_by_what_browsers_say(control: PageClient, site: str) -> None:
    assert control.act("double", {"n": 1}, Sec_Fetch_Site=site).status == 403
    assert control.ask("GET", "/events?as=control", Sec_Fetch_Site=site).status == 403
    assert control.act("double", {"n": 1}, Sec_Fetch_Site="same-origin").status == 200


def test_a_form_of_another_site_is_refused(page: Page, control: PageClient) -> None:
    form = b"n=21"
    for kind in ("application/x-www-form-urlencoded", "text/plain", "multipart/form-data"):
        answer = control.ask("POST", "/act/double", form, Content_Type=kind)
        assert answer.status == 415
    preflight = control.ask("OPTIONS", "/act/double", Origin="http://evil.example")
    assert preflight.status == 501
    assert not [each for each in preflight.headers if each.startswith("access-control")]


def test_every_answer_has_the_policy(page: Page, control: PageClient) -> None:
    answers = [
        control.ask("GET", "/"),
        control.ask("GET", "/own.js"),
        control.ask("GET", "/nothing"),
        control.enter(),
        control.act("double", {"n": 1}),
        control.act("double", {"n": "?"}),
        control.ask("PUT", "/"),
        control.raw(b"nonsense\r\n\r\n"),
    ]
    with control.watch() as watch:
        answers.append(Answer(watch.status, watch.headers, b""))
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy and "http" not in policy
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cache-control"] == "no-store"


# --- Paths ----------------------------------------------------------------------------------------


def test_the_files_of_the_folder_are_served(control: PageClient) -> None:
    assert control.ask("GET", "/").body == control.ask("GET", "/index.html").body
    assert control.ask("GET", "/own.js").headers["content-type"].startswith("text/javascript")
    assert control.ask("GET", "/own.js?v=1").status == 200
    assert control.ask("GET", "/webpage/webpage.js").status == 200


@pytest.mark.parametrize(
    "path",
    [
        "/../above.js",
        "/inner/deep.js",
        "/secret.txt",
        "/%2e%2e/above.js",
        "/..%2fabove.js",
        "/inner/../own.js",
        "/./own.js",
        "/own.js%00.html",
        "/own.js/",
        "//own.js/..",
        "\\..\\above.js",
        "/webpage/../own.js",
        "/webpage/page.py",
        "/webpage/../page.py",
        "/c:/windows/win.ini",
        "/etc/passwd",
        "file:///etc/passwd",
        "http://evil.example/",
        "*",
    ],
)
def test_no_path_leads_out_of_the_folder(control: PageClient, path: str) -> None:
    answer = control.ask("GET", path)
    assert answer.status == 404
    assert b"not served" not in answer.body and b"import" not in answer.body


def test_a_folder_without_an_index_is_refused(tmp_path: Any) -> None:
    with pytest.raises(FileNotFoundError, match=r"index\.html"):
        Page("127.0.0.1", 0, tmp_path, "Test", {})


# --- Acts -----------------------------------------------------------------------------------------


def test_an_act_refuses_with_its_sentence(control: PageClient) -> None:
    answer = control.act("double", {"n": "many"})
    assert answer.status == 409 and says(answer) == "n must be a whole number, as 21"


def test_viewers_may_only_call_acts_that_are_there(tmp_path: Any) -> None:
    with pytest.raises(ValueError, match="wipe"):
        Page("127.0.0.1", 0, tmp_path, "Test", {}, viewers_may={"wipe"})


@pytest.mark.parametrize("name", ["nothing", "", "double/", "../enter", "__class__", "double?x"])
def test_an_act_that_is_not_there_is_not_found(control: PageClient, name: str) -> None:
    assert control.ask("POST", f"/act/{name}", b"{}").status == 404
    assert control.ask("POST", "/", b"{}").status == 404


@pytest.mark.parametrize(
    "body",
    [b"[]", b"1", b"nonsense", b"\xff\xfe", b"[" * 60_000, b'{"n":' + b"9" * 5_000 + b"}", b"NaN"],
)
def test_a_body_that_is_no_object_is_refused(control: PageClient, body: bytes) -> None:
    answer = control.ask("POST", "/act/double", body)
    assert answer.status == 400 and says(answer).startswith("The body is no JSON")


def test_an_empty_body_is_an_empty_object(control: PageClient) -> None:
    assert control.ask("POST", "/act/wipe").json == {"wiped": True}


def test_a_body_of_64_kib_is_taken_and_one_more_byte_is_not(control: PageClient) -> None:
    whole = json.dumps({"n": 1, "x": ""}).encode()
    body = whole[:-2] + b"x" * (requests.MAX_BODY_BYTES - len(whole)) + whole[-2:]
    assert len(body) == 64 * 1024
    assert control.ask("POST", "/act/double", body).json == {"twice": 2}
    answer = control.ask("POST", "/act/double", body[:-1] + b" }")
    assert answer.status == 413 and "65,536" in says(answer)


def test_a_gib_is_refused_at_its_header(control: PageClient) -> None:
    with control.connect() as sock:
        answer = control.ask("POST", "/act/double", sock=sock, Content_Length=str(GIB))
        assert answer.status == 413
        assert answer.headers["connection"] == "close"
    expecting = control.ask("POST", "/act/double", Content_Length=str(GIB), Expect="100-continue")
    assert expecting.status == 413, "nobody is asked to send it"


@pytest.mark.parametrize("length", ["-1", "+2", "0x2", "2, 2", " ", "٢", "1" * 30, "2.0"])
def test_a_length_that_is_no_number_is_refused(control: PageClient, length: str) -> None:
    assert control.ask("POST", "/act/double", Content_Length=length).status == 400


def test_a_body_whose_length_can_be_read_in_two_ways_is_refused(control: PageClient) -> None:
    chunked = control.ask("POST", "/act/double", Transfer_Encoding="chunked")
    assert chunked.status == 411
    lines = [f"{key}: {value}" for key, value in control.headers().items()]
    twice = ["POST /act/double HTTP/1.1", *lines, "Content-Length: 2", "Content-Length: 30", "", ""]
    assert control.raw("\r\n".join(twice).encode() + b"{}").status == 411


def test_nothing_of_a_request_is_in_an_answer(control: PageClient) -> None:
    mark = "<script>7</script>"
    for answer in (
        control.ask("GET", f"/{mark.replace(' ', '')}"),
        control.ask("POST", f"/act/{mark}"),
        control.act("double", {"n": mark}),
        control.ask("GET", "/", Host=mark),
        control.raw(f"{mark} / HTTP/1.1\r\n\r\n".encode()),
    ):
        assert answer.status >= 400
        assert b"<script>" not in answer.body
        assert answer.headers["content-type"] == "application/json"


# --- Programs -------------------------------------------------------------------------------------


def tell(page: Page, name: str = "tell", **changes: str | None) -> Answer:
    client = PageClient(page.link)
    headers = {"X_Page_Token": None, "Origin": None, "X_Page_Code": page.code, **changes}
    return client.ask("POST", f"/program/{name}", b'{"n": 21}', **headers)


def test_a_program_acts_by_the_code_under_whatever_name_it_found_the_page(page: Page) -> None:
    assert tell(page).json == {"twice": 42}
    assert tell(page, Host="teacher.school.example:8080").json == {"twice": 42}
    assert len(page.code) == gate.CODE_LENGTH


def test_a_program_without_the_code_is_refused_and_waits(
    page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(page._content.ring, "wait_until_closed", waits.append)
    for code in (None, "", page.code[:-1], page.code + "x", "ä" * 10):
        assert tell(page, X_Page_Code=code).status == 403
    assert waits == [requests.WRONG_CODE_SECONDS] * 5
    assert tell(page, "double").status == 404, "the acts of browsers are none of programs"
    assert tell(page).status == 200 and len(waits) == 5, "who has the code waits for nothing"


def test_no_browser_can_use_the_code(
    page: Page, control: PageClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "WRONG_CODE_SECONDS", 0.0)
    for origin in ("http://evil.example", f"http://{control.host}", "null"):
        assert tell(page, Origin=origin).status == 403
    assert tell(page, Cookie=control.cookie).status == 403
    assert tell(page, Content_Type="text/plain").status == 415
    assert tell(page, Content_Length=str(GIB)).status == 413


def test_a_code_that_is_given_is_kept(make_page: Callable[..., Page]) -> None:
    assert make_page(code="tide-pool-7").code == "tide-pool-7"


# --- Too much -------------------------------------------------------------------------------------


def test_many_requests_take_no_memory_and_no_threads(control: PageClient) -> None:
    def flood(count: int) -> None:
        with control.connect() as sock:
            for _ in range(count):
                control.ask("POST", "/act/double", b'{"n": 1}', sock=sock)

    def grown_by(count: int) -> int:
        gc.collect()  # without the GIL it comes later by itself
        first = tracemalloc.get_traced_memory()[0]
        flood(count)
        gc.collect()
        return tracemalloc.get_traced_memory()[0] - first

    flood(20)
    threads = threading.active_count()
    tracemalloc.start()
    try:
        flood(40)
        grown = [grown_by(120)]
        while grown[-1] > 16 * 1024 and len(grown) < 3:  # what leaks grows each time
            grown.append(grown_by(120))
    finally:
        tracemalloc.stop()
    # Without the GIL some strings of http.server are freed late: 75 KiB after 1,680 requests.
    most = 64 if sysconfig.get_config_var("Py_GIL_DISABLED") else 16
    assert min(grown) < most * 1024, f"{grown} bytes: with the GIL less than 140 each"
    assert threading.active_count() <= threads + 1


def test_a_thread_that_can_not_start_takes_no_place_for_good(
    make_page: Callable[..., Page], monkeypatch: pytest.MonkeyPatch
) -> None:
    page = make_page()
    real, failed = threading.Thread.start, list[str]()

    def start(thread: threading.Thread) -> None:
        if thread.name.startswith("page-") and len(failed) < listening.MAX_OF_ADDRESS:
            failed.append(thread.name)
            raise RuntimeError("can't start new thread")
        real(thread)

    monkeypatch.setattr(threading.Thread, "start", start)
    for _ in range(listening.MAX_OF_ADDRESS):
        with (
            contextlib.suppress(ConnectionError),
            socket.create_connection(("127.0.0.1", page.port), patience(10)) as refused,
        ):
            assert refused.recv(1) == b""
    assert PageClient(page.wall_link).ask("GET", "/").status == 200


def test_a_flood_of_strangers_has_a_pace_and_control_has_none(
    page: Page, control: PageClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace_module, "WAIT_SECONDS", 0.0)
    slow = Pace(per_second=0.1, burst=2)
    monkeypatch.setattr(page._content.pace, "wait", slow.wait)
    stranger = PageClient(page.wall_link)
    statuses = [stranger.ask("GET", "/").status for _ in range(6)]
    assert statuses[:2] == [200, 200] and statuses[3:] == [503, 503, 503]
    for _ in range(5):
        assert control.act("double", {"n": 1}).status == 200


def test_a_pace_lets_a_class_in_at_once_and_then_so_many_a_second() -> None:
    pace = Pace(per_second=100, burst=5)
    tick = time.get_clock_info("monotonic").resolution
    started = time.monotonic()
    for _ in range(12):
        pace.wait()
    assert time.monotonic() - started >= 0.06 - tick


def test_connections_are_bounded_for_each_address(page: Page, control: PageClient) -> None:
    open_ones = [control.connect() for _ in range(listening.MAX_OF_ADDRESS)]
    try:
        with control.connect() as sock:
            sock.settimeout(patience(10))
            assert sock.recv(1) == b"", "one too many is closed at once"
        threads = [each for each in threading.enumerate() if each.name.startswith("page-")]
        assert len(threads) <= listening.MAX_OF_ADDRESS + 1
    finally:
        for sock in open_ones:
            sock.close()
    deadline = time.monotonic() + patience(10)
    while True:  # their places come back
        try:
            assert control.act("double", {"n": 1}).status == 200
            return
        except (OSError, EOFError):
            assert time.monotonic() < deadline


def test_viewers_are_bounded_so_that_acts_are_still_heard(
    make_page: Callable[..., Page], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listening, "MAX_VIEWERS", 1)
    control = PageClient(make_page().link)
    control.enter()
    with control.watch() as first:
        assert first.next()["kind"] == "hello"
        with control.watch() as second:
            assert second.status == 503
        assert control.act("double", {"n": 1}).status == 200


def test_a_request_that_dribbles_is_ended(
    control: PageClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "REQUEST_SECONDS", 0.3)
    started = time.monotonic()
    with control.connect() as sock:
        sock.settimeout(patience(10))
        with pytest.raises(OSError):  # a byte each 20 ms never moves the deadline
            while time.monotonic() - started < patience(10):
                sock.sendall(b"x")
                time.sleep(0.02)
    with control.connect() as sock:
        lines = [f"{key}: {value}" for key, value in control.headers().items()]
        head = ["POST /act/double HTTP/1.1", *lines, "Content-Length: 10", "", "{"]
        sock.sendall("\r\n".join(head).encode())
        with pytest.raises((EOFError, OSError)):
            read_answer(sock)


def test_headers_without_end_are_refused(control: PageClient) -> None:
    long_line = b"GET / HTTP/1.1\r\nX: " + b"x" * 70_000 + b"\r\n\r\n"
    assert control.raw(long_line).status == 431
    many = b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 200 + b"\r\n"
    assert control.raw(many).status == 431
    assert control.raw(b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\n\r\n").status == 414


def test_a_body_that_is_cut_off_does_nothing(control: PageClient) -> None:
    with control.connect() as sock:
        lines = [f"{key}: {value}" for key, value in control.headers().items()]
        head = ["POST /act/wipe HTTP/1.1", *lines, "Content-Length: 50", "", "{}"]
        sock.sendall("\r\n".join(head).encode())
        sock.shutdown(socket.SHUT_WR)
        with pytest.raises(EOFError):
            read_answer(sock)


def test_whoever_leaves_at_once_disturbs_nobody(page: Page, control: PageClient) -> None:
    for _ in range(5):
        sock = control.connect()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_ZERO)
        sock.close()
    assert control.act("double", {"n": 1}).status == 200


def test_a_page_says_where_other_machines_find_it(make_page: Callable[..., Page]) -> None:
    assert make_page().wall_link.startswith("http://127.0.0.1:")
