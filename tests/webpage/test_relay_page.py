"""The relay's page in a real browser, before a relay that only tells made-up traffic."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from support.browser import NAMES, Browser, Tab, program
from support.fake_relay import FakeRelay
from support.patience import patience
from support.relays import Line, Listener, relay_before

from conformance.relay.acts import VIEWERS_MAY, Acts
from webpage import ActRefused, Page, listening

pytestmark = pytest.mark.skipif(
    program() is None, reason=f"no browser: none of {', '.join(NAMES)} is installed"
)

LIVE = "document.getElementById('state').textContent === 'live' && document.title !== 'Relay'"
DRAWN = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
HOSTILE = (
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(1)</script>",
    "\u202egnp.exe\u2066",
    "${alert(1)} {{7*7}} %3Cb%3E &lt;b&gt;",
    "\x00\x1b[31m\ud800 \U0001f469\u200d\U0001f680",
    "__proto__",
    "constructor",
    "x" * 5000,
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    browser = Browser()
    yield browser
    browser.close()


@pytest.fixture
def relay(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeRelay]:
    monkeypatch.setattr(listening, "POLL_SECONDS", 0.02)
    relay = FakeRelay()
    yield relay
    relay.close()


@pytest.fixture(scope="module")
def window(browser: Browser) -> Tab:
    return browser.tab()


@pytest.fixture(scope="module")
def other(browser: Browser) -> Tab:
    """A second browser: it shares no cookie with the first."""
    return browser.tab()


@pytest.fixture
def tab(window: Tab, relay: FakeRelay) -> Iterator[Tab]:
    """The page, opened by the link that controls; it must have complained of nothing."""
    window.resize(1280, 800)
    window.prefer("light")
    window.browser.events.clear()
    window.go(relay.page.link)
    window.wait(LIVE)
    yield window
    assert window.troubles() == []


@pytest.fixture
def talk(relay: FakeRelay, tab: Tab) -> int:
    """Three who talk: two messages, the confirmation of the second lost once; its row."""
    for number, name in enumerate(("ada", "bob", "eve"), 1):
        relay.open(number, name)
    relay.message(1, "Hello", 1, (2, 3))
    more = {"transaction": "t-2"}
    relay.frame(1, "server", "send_message", "den · Again?", room="den")
    relay.frame(1, "client", "character_count", "6 letters", counts="agree", **more)
    lost = relay.frame(1, "server", "confirm_count", "yes", fault="drop", **more)
    again = relay.frame(1, "server", "confirm_count", "yes", **more)
    relay.tell("came_of", row=lost, text=f"sent again: row {again}, 5.0 s later")
    relay.frame(1, "client", "ack", "stored as message 2", message=2, **more)
    rows(tab, again + 1)
    return lost


def rows(tab: Tab, count: int) -> None:
    """Wait until the page counts so many packets."""
    tab.wait(f"document.getElementById('count').textContent.startsWith('{count:,}')")


def shown(tab: Tab) -> list[str]:
    """What stands beside each arrow, from top to bottom."""
    found = tab.js(
        "Array.from(document.querySelectorAll('.row')).sort((a, b) => a.offsetTop - b.offsetTop)"
        ".map((row) => (row.querySelector('.label, .note') ?? row).textContent)"
    )
    assert isinstance(found, list)
    return found


def open_row(tab: Tab, row: int) -> None:
    """Click on a row's arrow."""
    tab.js(f"document.querySelector('[aria-label*=\"Row {row}.\"]').scrollIntoView()")
    tab.click(f"[aria-label*='Row {row}.'] .label")
    tab.wait(f"document.getElementById('details-title').textContent.startsWith('#{row} ')")
    tab.wait("!document.getElementById('details').hidden")


# --- Entering -------------------------------------------------------------------------------------


def test_the_token_leaves_the_address_at_once(relay: FakeRelay, tab: Tab) -> None:
    assert tab.js("location.href") == f"http://127.0.0.1:{relay.page.port}/"
    assert tab.js("document.cookie") == "", "scripts can't read the cookie"
    tab.call("Page.reload")
    tab.wait(LIVE)


@pytest.mark.long  # quickly: test_a_link_that_was_used_controls_no_second_browser
def test_a_link_that_was_used_says_so_in_another_browser(
    other: Tab, relay: FakeRelay, tab: Tab
) -> None:
    other.go(relay.page.link)
    other.wait("document.getElementById('trouble').textContent.includes('used by another')")
    other.go(f"http://127.0.0.1:{relay.page.port}/")
    other.wait("document.getElementById('trouble').textContent.includes('whole link')")


def test_the_wall_looks_on_and_can_change_nothing(other: Tab, relay: FakeRelay, talk: int) -> None:
    wall = other
    wall.go(relay.page.wall_link)
    wall.wait(LIVE)
    rows(wall, talk + 2)
    assert wall.js("document.getElementById('hold').offsetParent") is None
    wall.press("f", "h", "n")
    assert wall.js("document.getElementById('faults').hidden")
    open_row(wall, talk)
    assert "Send once more" not in wall.text("#details")
    assert [name for name, _ in relay.asked] == ["row"]


# --- The diagram ----------------------------------------------------------------------------------


def test_the_diagram_grows_and_lanes_are_named_after_the_login(relay: FakeRelay, tab: Tab) -> None:
    tab.wait("document.getElementById('nothing-text').textContent.includes('Start a client')")
    relay.open(1)
    tab.wait("document.querySelector('.heads').textContent.includes('connection 1')")
    relay.tell("name", connection=1, user="ada")
    tab.wait("document.querySelector('.heads').textContent === 'adaserver'")
    relay.frame(1, "server", "ping")
    rows(tab, 1)
    relay.open(2, "bob")
    tab.wait("document.querySelector('.heads').textContent === 'adaserverbob'")
    relay.tell("close", connection=2, how="the client ended")
    tab.wait("document.querySelector('.head.ended')?.textContent === 'bob'")
    assert shown(tab)[-1] == "closed: the client ended"
    relay.frame(9, "client", "pong")
    tab.wait("document.querySelector('.heads').textContent.includes('connection 9')")


def test_a_row_says_in_words_what_its_colour_says(tab: Tab, talk: int) -> None:
    lost = next(text for text in shown(tab) if "dropped" in text)
    assert lost.startswith("countsconfirm_countyesdropped→ sent again: row ")
    assert "countscharacter_count6 letterscounts agree" in shown(tab)
    assert "receiptackstored as message 2" in shown(tab)
    label = tab.js("document.querySelector('.row.lost').getAttribute('aria-label')")
    assert re.match(
        r"[\d.]+ s\. Row \d+\. ada to server: counts, confirm_count, yes, dropped", label
    )


def test_bytes_that_are_no_frame_are_shown(relay: FakeRelay, tab: Tab) -> None:
    relay.open(1)
    row = relay.frame(1, "server", "", "47 45 54 20", kind="raw")
    rows(tab, 1)
    assert shown(tab)[-1] == "bytes47 45 54 20"
    relay.rows[row].update(hex="47 45 54 20 2f")
    open_row(tab, row)
    assert "47 45 54 20 2f" in tab.text("#details")


def test_a_click_opens_the_packet(relay: FakeRelay, tab: Tab, talk: int) -> None:
    open_row(tab, talk)
    details = tab.text("#details")
    for part in (
        "ada → server",
        "00 00 00 2a = 116 bytes follow, 120 in all",
        '"action": "send_message"',
        "Fault: dropped.",
        "→ sent again: row 17",
        "The relay sent nothing of it.",
        "R-FRAME-1 A frame is a 4-byte",
    ):
        assert part in details
    tab.press("Escape")
    assert tab.js("document.getElementById('details').hidden")
    assert tab.js("document.activeElement.id") == "diagram"


def test_counts_that_differ_are_shown_letter_by_letter(relay: FakeRelay, tab: Tab) -> None:
    relay.open(1)
    row = relay.frame(1, "server", "character_count", "5", counts="differ")
    rows(tab, 1)
    open_row(tab, row)
    assert "The counts differ." in tab.text("#details")
    assert tab.js("Array.from(document.querySelectorAll('tbody td'), (e) => e.textContent)") == [
        "l",
        "2",
        "3",
    ]


def test_a_row_that_is_not_kept_any_more_says_so(relay: FakeRelay, tab: Tab, talk: int) -> None:
    relay.rows.clear()
    tab.click(".row.lost .label")
    tab.wait("document.getElementById('said').textContent.includes('not kept any more')")
    tab.browser.events.clear()  # the browser notes each answer that is an error


# --- Filters --------------------------------------------------------------------------------------


def test_a_filter_shows_what_fits(tab: Tab, talk: int) -> None:
    for field, text, count in (
        ("by-user", "bob", 6),
        ("by-user", "BOB", 6),
        ("by-user", "nobody", 0),
        ("by-room", "den", 1),
        ("by-action", "send_message", 2),
        ("by-action", "*_count", 9),
        ("by-transaction", "t-2", 5),
    ):
        tab.js(f"document.getElementById('{field}').select()")
        tab.type(text)
        wanted = f"{count} of {talk + 2} packets"
        tab.wait(f"document.getElementById('count').textContent === '{wanted}'")
        packets = [each for each in shown(tab) if not each.startswith(("connected", "closed"))]
        assert len(packets) == count
        tab.click("#clear")
        rows(tab, talk + 2)


def test_a_message_is_followed_through_everybody(tab: Tab, talk: int) -> None:
    first = tab.js(
        "Array.from(document.querySelectorAll('.row')).find((row) =>"
        " row.textContent.includes('receive_message')).id"
    )
    tab.click(f"#{first} .label")
    tab.wait("!document.getElementById('details').hidden")
    tab.press("m")
    tab.wait(f"document.getElementById('count').textContent.startsWith('12 of {talk + 2}')")
    texts = shown(tab)
    assert texts[0].startswith("messagesend_messagelobby · Hello")
    assert sum("receive_message" in text for text in texts) == 2
    tab.press("c")
    rows(tab, talk + 2)


# --- Pausing and looks ----------------------------------------------------------------------------


def test_a_paused_picture_stands_still_and_loses_nothing(
    relay: FakeRelay, tab: Tab, talk: int
) -> None:
    tab.press(" ")
    before = shown(tab)
    for _ in range(7):
        relay.frame(2, "server", "ping")
    tab.wait("document.getElementById('pause').textContent === 'Go on (7 new)'")
    assert shown(tab) == before
    tab.press(" ")
    rows(tab, talk + 9)
    assert shown(tab)[-1].startswith("aliveping")


def test_the_projector_has_large_type_and_is_remembered(tab: Tab, talk: int) -> None:
    size = "parseFloat(getComputedStyle(document.querySelector('.label')).fontSize)"
    before = tab.js(size)
    tab.press("p")
    tab.wait(f"{size} >= 1.5 * {before}")
    tab.call("Page.reload")
    tab.wait(LIVE)
    assert tab.js("document.getElementById('projector').ariaPressed") == "true"
    tab.press("p")


def test_colours_follow_the_system_or_the_button(tab: Tab) -> None:
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    tab.prefer("dark")
    dark = tab.js(ground)
    tab.prefer("light")
    light = tab.js(ground)
    assert dark != light
    tab.press("t", "t")
    assert tab.js(ground) == dark
    tab.press("t")
    assert tab.js(ground) == light


def test_nothing_is_wider_than_the_window(tab: Tab, talk: int) -> None:
    for width in (320, 390, 1280, 2560):
        tab.resize(width, 800)
        tab.wait(f"innerWidth === {width}")
        tab.js(DRAWN)
        assert tab.js("document.documentElement.scrollWidth") <= width
        open_row(tab, talk)
        assert tab.js("document.documentElement.scrollWidth") <= width
        tab.press("Escape")


# --- Faults, step, replay -------------------------------------------------------------------------


def test_a_fault_is_set_by_clicks_and_its_mark_is_shown(relay: FakeRelay, tab: Tab) -> None:
    tab.click("#open-faults")
    tab.wait("document.activeElement.id === 'fault-kind'")
    for field, text in (("fault-action", "confirm_count"), ("fault-every", "2")):
        tab.click(f"#{field}")
        tab.type(text)
    tab.js("document.getElementById('fault-to').value = 'server'")
    tab.js("document.getElementById('fault-form').dispatchEvent(new Event('input'))")
    tab.click("#fault-add")
    tab.wait("!document.getElementById('faults-banner').hidden")
    assert relay.asked[-1] == (
        "fault_add",
        {"fault": "drop", "action": "confirm_count", "to": "server", "every": "2"},
    )
    assert tab.text("#faults-in-force") == "drop confirm_count to=server every=2"
    assert "each 2nd confirm_count, to the server" in tab.text("#fault-words")
    tab.click("#fault-list button")
    tab.wait("document.getElementById('faults-banner').hidden")


def test_a_fault_that_is_wrong_is_answered_with_a_sentence(relay: FakeRelay, tab: Tab) -> None:
    tab.press("f")
    tab.js("document.getElementById('fault-kind').value = 'split'")
    tab.click("#fault-add")
    tab.wait("document.getElementById('said').textContent.includes('split takes BYTES')")
    tab.press("Escape")
    assert tab.js("document.getElementById('faults').hidden")
    tab.browser.events.clear()


def test_such_packets_can_be_broken_from_a_packet(tab: Tab, talk: int) -> None:
    open_row(tab, talk)
    tab.js(
        "Array.from(document.querySelectorAll('#details button'))"
        ".find((e) => e.textContent === 'Break such packets').click()"
    )
    assert tab.js("document.getElementById('fault-action').value") == "confirm_count"
    assert tab.js("document.getElementById('fault-to').value") == "server"


def test_a_held_packet_is_edited_and_let_go(relay: FakeRelay, tab: Tab) -> None:
    relay.open(1, "ada")
    tab.press("h")
    tab.wait("!document.getElementById('stepping').hidden")
    row = relay.frame(1, "server", "send_message", "lobby · Held", held=True)
    relay.rows[row]["json"] = '{\n  "password": "********"\n}'
    relay.step = {"on": True, "held": [row], "until": None}
    relay.tell("step", **relay.step)
    tab.wait("document.querySelector('.row.held .badge')?.textContent === 'held'")
    assert tab.text("#hold") == "Let all go (1 held)"
    open_row(tab, row)
    assert "Only this connection waits." in tab.text("#details")
    assert "Stars that you leave" in tab.text("#details")
    tab.click("#edit")
    tab.js("document.getElementById('edit').select()")
    tab.type('{"n": 7}')
    tab.js(
        "Array.from(document.querySelectorAll('#details button'))"
        ".find((e) => e.textContent === 'Send this instead').click()"
    )
    wait_for_act(relay, "edit", {"row": row, "json": '{"n": 7}'})
    tab.press("Escape")
    tab.press("n")
    wait_for_act(relay, "step", {"do": "one"})
    tab.wait("!document.querySelector('.row.held')")
    tab.click("#until-action")
    tab.type("ack")
    tab.click("#release-until")
    wait_for_act(relay, "step", {"do": "until", "action": "ack"})
    tab.click("#hold")
    wait_for_act(relay, "step", {"do": "off"})


def wait_for_act(relay: FakeRelay, name: str, asked: dict[str, Any]) -> None:
    deadline = time.monotonic() + patience(10)
    while (name, asked) not in relay.asked:
        assert time.monotonic() < deadline, relay.asked
        time.sleep(0.01)


def test_a_recording_is_stopped_and_played_faster(relay: FakeRelay, tab: Tab) -> None:
    assert tab.js("document.getElementById('replay').hidden")
    relay.frame(1, "server", "ping")
    relay.tell("replay", position=1.5, length=9.0, speed=1, paused=False)
    tab.wait("document.getElementById('replay-at').textContent === '1.5 of 9.0 s'")
    tab.click("#replay-pause")
    wait_for_act(relay, "replay", {"do": "pause"})
    assert tab.js("document.getElementById('hold').hidden"), "what has passed is not held"
    open_row(tab, 1)
    assert "Send once more" not in tab.text("#details")
    tab.js(
        "document.getElementById('replay-speed').value = '10';"
        "document.getElementById('replay-speed').dispatchEvent(new Event('change'))"
    )
    wait_for_act(relay, "replay", {"do": "speed", "speed": 10})
    relay.tell("replay", position=9.0, length=9.0, speed=3, paused=False)
    tab.wait("document.getElementById('replay-at').textContent === '9.0 of 9.0 s: the end'")
    assert tab.js("document.getElementById('replay-speed').value") == "3"
    assert tab.js("document.getElementById('replay-pause').disabled")
    tab.click("#replay-again")
    wait_for_act(relay, "replay", {"do": "again"})
    relay.tell("replay", position=0.0, length=9.0, speed=3, paused=False, round=2)
    rows(tab, 0)
    relay.tell("frame", connection=1, row=1, to="server", action="pong")  # the same row once more
    rows(tab, 1)


# --- Hostile text ---------------------------------------------------------------------------------


def test_hostile_text_in_every_field_stays_text(relay: FakeRelay, tab: Tab) -> None:
    for number, text in enumerate(HOSTILE, 1):
        relay.open(number, text[:64])
        more = {"room": text, "transaction": text, "message": text}
        row = relay.frame(number, "server", text, text, fault=text[:60], **more)
        relay.tell("came_of", row=row, text=text)
        relay.tell("close", connection=number, how=text)
    relay.rows[row]["json"] = "".join(HOSTILE)
    relay.faults = [{"id": 1, "text": HOSTILE[0], "hits": 1}]
    relay.tell("faults", faults=relay.faults)
    relay.page.publish({"kind": "__proto__", "connection": {"toString": 1}, "row": "x"})
    relay.frame(1, "server", "ping", "after all of it")
    rows(tab, 3 * len(HOSTILE) + 1)
    tab.press("f", "Escape")
    open_row(tab, row)
    tab.press("m")
    for tag in ("img", "script:not([src])", "[onerror]", "dialog[open]"):
        assert tab.js(f"document.querySelector({json.dumps(tag)})") is None
    assert "<img src=x onerror=alert(1)>" in tab.text("#details")
    assert tab.js("({}).connection") is None
    tab.press("c")


def test_the_page_may_load_nothing_from_elsewhere_and_make_no_markup(tab: Tab) -> None:
    refused = tab.js(
        "(() => { try { document.body.innerHTML = '<b>x</b>'; return false }"
        " catch { return true }})()"
    )
    assert refused, "markup from text is forbidden by the policy"
    assert tab.js("fetch('http://127.0.0.1:1/').then(() => 'went', () => 'refused')") == "refused"
    assert any("Content Security Policy" in text for text in tab.troubles())
    tab.browser.events.clear()


# --- Keyboard, screen readers, contrast -----------------------------------------------------------


def test_the_keyboard_alone_walks_and_opens(tab: Tab, talk: int) -> None:
    tab.press("d", "Home")
    assert tab.js("document.querySelector('[aria-selected=true] .label').textContent").startswith(
        "connected from"
    )
    tab.press("ArrowDown", "ArrowDown", "ArrowUp", "PageDown", "PageUp", "End", "Enter")
    tab.wait("document.getElementById('details-title').textContent.endsWith(' ack')")
    assert tab.js("document.activeElement.id") == "details-title"
    tab.press("Escape", "?")
    assert tab.js("document.getElementById('help').open")
    tab.press("Escape", "/")
    assert tab.js("document.activeElement.id") == "by-user"
    tab.type("f")  # a letter in a field is no key
    assert tab.js("document.getElementById('faults').hidden")


def test_every_control_is_reached_by_tab(tab: Tab, talk: int) -> None:
    tab.press("f")
    tab.js("document.activeElement.blur()")
    wanted = tab.js(
        "Array.from(document.querySelectorAll('button, input, select, [tabindex=\"0\"]'))"
        ".filter((e) => e.offsetParent && !e.disabled).length"
    )
    reached = set()
    for _ in range(wanted + 5):
        tab.press("Tab")
        reached.add(tab.js("(document.activeElement.id || document.activeElement.textContent)"))
    assert len(reached - {"", None}) >= wanted


def test_keys_of_one_letter_can_be_turned_off(tab: Tab) -> None:
    tab.press("?")
    tab.click("#keys")
    tab.press("Escape", "p")
    assert tab.js("document.getElementById('projector').ariaPressed") == "false"
    tab.press("?")
    tab.click("#keys")


def test_everything_has_a_name_for_screen_readers(tab: Tab, talk: int) -> None:
    open_row(tab, talk)
    tab.press("d")
    nodes = tab.call("Accessibility.getFullAXTree")["nodes"]
    needs = {"button", "textbox", "combobox", "listbox", "option", "checkbox", "dialog", "heading"}
    found = {}
    for node in nodes:
        role = node.get("role", {}).get("value")
        if node.get("ignored") or role not in needs:
            continue
        name = node.get("name", {}).get("value", "").strip()
        assert name, node
        found.setdefault(role, []).append(name)
    assert {"Pause", "Faults", "Hold", "Close"} <= set(found["button"])
    assert any("ada to server: counts, confirm_count" in name for name in found["option"])
    roles = [node.get("role", {}).get("value") for node in nodes]
    assert "banner" in roles and "main" in roles and "search" in roles


CONTRAST = """
(() => {
  const numbers = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, at) => sum + v * [0.2126, 0.7152, 0.0722][at], 0);
  const ground = (e) => {
    for (; e; e = e.parentElement) {
      const found = numbers(getComputedStyle(e).backgroundColor);
      if (found.length < 4 || found[3] === 1) return found;
    }
    return [255, 255, 255];
  };
  const bad = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node; (node = walker.nextNode());) {
    const e = node.parentElement;
    if (!node.data.trim() || !e.checkVisibility({visibilityProperty: true})) continue;
    const [one, other] = [light(numbers(getComputedStyle(e).color)), light(ground(e))];
    const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    if (ratio < 4.5) bad.push(`${ratio.toFixed(2)} ${e.className || e.tagName}: ${node.data}`);
  }
  return bad;
})()
"""


def test_every_text_has_enough_contrast(relay: FakeRelay, tab: Tab, talk: int) -> None:
    for action in ("login", "create_room", "file_list_req", "error", "get_messages", "typing"):
        relay.frame(2, "server", action, "…", counts="differ", held=action == "login")
    relay.frame(2, "server", "", "00", kind="raw", fault="delay 300")
    relay.page.publish({"kind": "gap", "lost": 3})
    rows(tab, talk + 9)
    for scheme in ("light", "dark"):
        tab.prefer(scheme)
        open_row(tab, talk)
        assert tab.js(CONTRAST) == []
        tab.press("Escape", "f", "?")
        assert tab.js(CONTRAST) == []
        tab.press("Escape", "Escape")


# --- Before a real relay --------------------------------------------------------------------------


@pytest.fixture
def line(window: Tab) -> Iterator[Line]:
    """A relay, both ends of a connection through it, and its page in the browser."""
    listener = Listener()
    with relay_before(listener.port) as relay:
        target = f"127.0.0.1:{listener.port}"
        acts = Acts(relay.story, relay.steering, relay.relay, "here", target, ActRefused)
        folder = resources.files("conformance.relay") / "page"
        may = {"viewers_may": VIEWERS_MAY, "state": acts.state}
        page = Page("127.0.0.1", 0, folder, "Relay", acts.all, **may)
        relay.story.add_listener(page.publish)
        page.start()
        window.resize(1280, 800)
        window.browser.events.clear()
        window.go(page.link)
        window.wait(LIVE)
        both = Line(listener, relay)
        yield both
        both.client.close()
        both.server.close()
        page.close()
    listener.close()


def test_a_confirmation_is_lost_sent_again_and_the_message_stored_once(
    window: Tab, line: Line
) -> None:
    window.press("f")
    for field, text in (("fault-action", "confirm_count"), ("fault-first", "1")):
        window.click(f"#{field}")
        window.type(text)
    window.click("#fault-add")
    window.wait("!document.getElementById('faults-banner').hidden")
    window.press("Escape")
    key = {"transaction_id": "k1"}
    line.to_server({"action": "login", "data": {"chatid": "ada", "password": "hush-hush"}})
    message = {"chatid": "ada", "room_id": "lobby", "content": "Hi", **key}
    line.to_server({"action": "send_message", "data": message})
    assert [line.at_server()["action"] for _ in range(2)] == ["login", "send_message"]
    counts = {"letter_frequencies": {"H": 1, "i": 1}, **key}
    line.to_client({"action": "character_count", "data": counts})
    assert line.at_client()["action"] == "character_count"
    for _ in range(2):
        line.to_server({"action": "confirm_count", "data": {"confirm": True, **key}})
    assert line.at_server()["action"] == "confirm_count"
    stored = {"message_id": 7, **key}
    line.to_client({"action": "ack", "status": "success", "data": stored})
    window.wait("document.querySelector('.row.lost')?.textContent.includes('stored once')")
    lost = window.text(".row.lost .label")
    assert "confirm_countyes, the same countsdropped→ sent again: row" in lost
    window.click("[aria-label*='Row 1.'] .label")
    window.wait("document.getElementById('details-title').textContent === '#1 login'")
    assert "********" in window.text("#details") and "hush" not in window.text("#details")


def test_a_message_is_held_changed_and_sent_once_more(window: Tab, line: Line) -> None:
    window.press("h")
    window.wait("document.getElementById('hold').ariaPressed === 'true'")
    line.to_server({"action": "ping", "data": {"n": 1}})
    window.wait("document.querySelector('.row.held')")
    window.click(".row.held .label")
    window.wait("document.getElementById('edit')")
    window.js("document.getElementById('edit').select()")
    window.type('{"action": "ping", "data": {"n": 2}}')
    window.js("document.querySelector('#details .buttons:last-of-type button:last-child').click()")
    assert line.at_server() == {"action": "ping", "data": {"n": 2}}
    window.wait("!document.querySelector('.row.held')")
    window.press("Escape", "h")
    window.wait("document.getElementById('hold').ariaPressed === 'false'")
    window.press("d", "End", "Enter")
    window.wait("document.getElementById('details').textContent.includes('Send once more')")
    window.js(
        "Array.from(document.querySelectorAll('#details button'))"
        ".find((e) => e.textContent === 'Send once more').click()"
    )
    assert line.at_server()["action"] == "ping"
    window.wait("document.body.textContent.includes('sent again by hand')")


# --- Much, loss and coming back -------------------------------------------------------------------


@pytest.mark.parametrize("count", [2_000, pytest.param(12_000, marks=pytest.mark.long)])
def test_a_minute_of_fifty_clients_loses_no_row(relay: FakeRelay, tab: Tab, count: int) -> None:
    """The whole minute has 200 rows a second; they come as fast as this machine can."""
    for number in range(1, 51):
        relay.open(number)
    for number in range(count):
        relay.frame(number % 50 + 1, "server", "ping")
    tab.wait(f"document.getElementById('count').textContent === '{count:,} packets'", 30)
    assert shown(tab)[-1] == "aliveping"
    assert tab.js("document.querySelectorAll('*').length") < 2_000
    assert tab.js("document.querySelectorAll('.head').length") == 51


def test_the_memory_of_the_page_is_bounded_and_says_what_left(relay: FakeRelay, tab: Tab) -> None:
    tab.press(" ")  # paused: rows that come are bounded all the same
    for number in range(26_000):
        relay.frame(number % 3 + 1, "server", "ping")
        if number == 13_000:  # the ring holds 20,000: what comes faster is a gap
            tab.wait("document.getElementById('pause').textContent === 'Go on (13,001 new)'", 30)
    tab.wait("document.getElementById('pause').textContent === 'Go on (26,000 new)'", 30)
    tab.press(" ")
    tab.wait(
        "/^20,\\d+ packets, [56],\\d+ older/.test(document.getElementById('count').textContent)"
    )


def test_what_a_viewer_missed_is_a_gap_with_its_number(window: Tab) -> None:
    relay = FakeRelay(max_events=100)
    try:
        for _ in range(150):
            relay.frame(1, "server", "ping")
        tab = window
        tab.go(relay.page.link)
        tab.wait("document.querySelectorAll('.row').length > 5")
        tab.press("d", "Home")
        assert shown(tab)[0] == "50 events not kept any more: before this page was opened"
        relay.page.publish({"kind": "gap", "lost": 7})  # as the stream tells one who is slow
        tab.press("End")
        tab.wait("document.body.textContent.includes('7 events missing here: this page could')")
    finally:
        relay.close()


def test_a_page_comes_back_after_a_loss_without_a_row_twice(
    relay: FakeRelay, tab: Tab, talk: int
) -> None:
    relay.page._listener.drop_all()
    tab.wait("document.getElementById('state').textContent !== 'live'")
    relay.frame(2, "server", "ping")
    tab.wait(LIVE)
    rows(tab, talk + 3)
    tab.browser.events.clear()


def test_a_page_says_that_its_program_is_away_and_then_that_it_is_another(
    window: Tab,
) -> None:
    first = FakeRelay()
    port = first.page.port
    tab = window
    tab.go(first.page.link)
    tab.wait(LIVE)
    first.close()
    tab.wait("document.getElementById('trouble').textContent.includes('Trying again')")
    second = FakeRelay(port)
    try:
        tab.wait("document.getElementById('trouble').textContent.includes('earlier run')")
        tab.js(f"location.hash = '{second.page.link.partition('#')[2]}'")
        tab.wait(LIVE)
        second.frame(1, "server", "ping")
        rows(tab, 1)
    finally:
        second.close()


def test_a_page_that_is_open_goes_on_by_itself_after_a_restart(window: Tab, tmp_path: Path) -> None:
    first = FakeRelay(kept=tmp_path / "page.json")
    port = first.page.port
    window.go(first.page.link)
    window.wait(LIVE)
    first.frame(1, "server", "ping")
    rows(window, 1)
    first.close()
    second = FakeRelay(port, kept=tmp_path / "page.json")
    try:
        window.wait("document.getElementById('said').textContent.includes('started anew')")
        window.wait(LIVE)
        second.open(1, "ada")
        rows(window, 2)
        window.press("h")  # and steers
        wait_for_act(second, "step", {"do": "on"})
        window.call("Page.reload")
        window.wait(LIVE)
    finally:
        second.close()
        window.browser.events.clear()


@pytest.mark.long
def test_a_real_minute_at_200_frames_a_second_keeps_up(relay: FakeRelay, tab: Tab) -> None:
    tab.call("Performance.enable")
    for number in range(1, 51):
        relay.open(number, f"student-{number}")
    begin = time.monotonic()
    sizes = []
    for second in range(60):
        for number in range(200):
            relay.frame(number % 50 + 1, "server", "send_message", "lobby · Hello")
        if second % 20 == 10:
            metrics = tab.call("Performance.getMetrics")["metrics"]
            sizes.append(next(m["value"] for m in metrics if m["name"] == "JSHeapUsedSize"))
        time.sleep(max(0.0, begin + second + 1 - time.monotonic()))
    tab.wait("document.getElementById('count').textContent === '12,100 packets'")
    assert max(sizes) < 100e6


@pytest.mark.long
def test_pictures_can_be_taken(tab: Tab, talk: int, tmp_path: Path) -> None:
    tab.picture(tmp_path / "page.png")
    assert (tmp_path / "page.png").read_bytes().startswith(b"\x89PNG")
