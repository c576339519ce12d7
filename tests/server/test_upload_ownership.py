"""Who owns the bytes of an upload: whoever closes its row, in the transaction that does it."""

from __future__ import annotations

import threading

import pytest
from support.files import Upload, read_download
from support.gates import Gate, HeldWriter, answer, ask_later, login_later
from support.in_process import Clock, Serve, member, stranger
from support.patience import patience, until
from support.raw_client import NothingCame, RawClient, error_code

from server.running.service import Service

CHUNKS = bytes(range(256)) * 8


def begun(client: RawClient, name: str = "work") -> Upload:
    """An upload of which all but `file_send_fin` is done."""
    upload = Upload(client, "lobby", name, CHUNKS)
    assert upload.init()["status"] == "success"
    upload.send_all()
    return upload


def fin_later(upload: Upload) -> str:
    return ask_later(upload.client, "file_send_fin", **upload.named, total_packets=upload.total)


def flat_files(service: Service) -> list[str]:
    return sorted(path.name for path in service.folder.uploads_path.iterdir())


def listed(client: RawClient) -> list[str]:
    reply = client.ask("file_list_req", room_id="lobby")
    return [entry["file_path"] for entry in reply["data"]["files"]]


def download_is_whole(client: RawClient) -> bool:
    ask_later(client, "file_down_req", room_id="lobby", file_path="work")
    return read_download(client, "lobby", "work")[0] == CHUNKS


@pytest.mark.parametrize("taken_by", ["file_cancel", "file_send_init"])
def test_who_gives_an_upload_up_while_it_is_finished_takes_its_bytes_too(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, taken_by: str
) -> None:
    service = serve()
    monkeypatch.setattr("server.handlers.sessions.PREDECESSOR_SECONDS", 0.01)
    witness, ada, later = member(service, "witness"), member(service, "ada"), stranger(service)
    upload = begun(ada)
    with monkeypatch.context() as patched:
        gate = Gate(patched, service.files, "finish")
        fin_later(upload)
        gate.wait_for_arrival()
        later.login("ada", None, session_key=ada.session_key)
        if taken_by == "file_cancel":
            assert later.ask("file_cancel", **upload.named)["action"] == "file_cancelled"
        else:
            assert Upload(later, "lobby", "work", b"other").init()["status"] == "success"
        gate.open()
    until(lambda: len(service.registry.connections()) == 2, "the old thread does not end")
    assert listed(witness) == []
    assert [p for p in witness.nothing_before_pong() if p["action"] == "receive_file"] == []
    assert flat_files(service) == []


@pytest.mark.parametrize("moment", ["before", "while it is finished"])
def test_an_upload_that_is_gone_on_with_is_not_old(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    wall = Clock(1_700_000_000.0)
    service = serve(wall=wall)
    witness, ada = member(service, "witness"), member(service, "ada")
    upload = begun(ada)
    wall.now += 86_400 + 10
    if moment == "before":
        service.watch.remove_stale_uploads()
        assert upload.fin()["action"] == "file_send_fin"
    else:
        gate = Gate(monkeypatch, service.files, "finish")
        asked = fin_later(upload)
        gate.wait_for_arrival()
        service.watch.remove_stale_uploads()
        gate.open()
        assert answer(ada, asked)["action"] == "file_send_fin"
    assert listed(witness) == ["work"] and download_is_whole(witness)


def test_an_upload_taken_up_again_just_now_is_not_old(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    wall = Clock(1_700_000_000.0)
    service = serve(wall=wall)
    witness, ada = member(service, "witness"), member(service, "ada")
    begun(ada)
    ada.ask("logout")
    ada.login("ada")
    wall.now += 86_400 + 10
    upload = Upload(ada, "lobby", "work", CHUNKS)
    removal = threading.Thread(target=service.watch.remove_stale_uploads)
    with HeldWriter(service, monkeypatch) as writer:
        asked = ask_later(
            ada,
            "file_send_init",
            **upload.named,
            file_size=upload.size,
            file_type="text/plain",
            total_packets=upload.total,
        )
        writer.wait_for_change()
        removal.start()
        writer.wait_for_change()
    removal.join(patience(10))
    assert answer(ada, asked)["data"]["received"] == [[1, upload.total]]
    assert upload.fin()["action"] == "file_send_fin"
    assert listed(witness) == ["work"] and download_is_whole(witness)


@pytest.mark.parametrize("moment", ["take_back", "reading"])
def test_an_upload_that_was_removed_as_old_is_begun_anew(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    wall = Clock(1_700_000_000.0)
    service = serve(wall=wall)
    witness, ada = member(service, "witness"), member(service, "ada")
    begun(ada)
    ada.ask("logout")
    ada.login("ada")
    wall.now += 86_400 + 10
    upload = Upload(ada, "lobby", "work", CHUNKS)
    owner = service.files if moment == "take_back" else service.database
    gate = Gate(monkeypatch, owner, moment)
    asked = ask_later(
        ada,
        "file_send_init",
        **upload.named,
        file_size=upload.size,
        file_type="text/plain",
        total_packets=upload.total,
    )
    gate.wait_for_arrival()
    service.watch.remove_stale_uploads()
    gate.open()
    assert not answer(ada, asked)["data"].get("received"), "its bytes are gone"
    upload.send_all()
    assert upload.fin()["action"] == "file_send_fin"
    assert listed(witness) == ["work"] and download_is_whole(witness)


def test_chunks_for_an_upload_that_others_gave_up_leave_nothing_behind(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = serve()
    monkeypatch.setattr("server.handlers.sessions.PREDECESSOR_SECONDS", 0.01)
    ada, later = member(service, "ada"), stranger(service)
    upload = Upload(ada, "lobby", "work", CHUNKS)
    upload.init()
    gate = Gate(monkeypatch, service.files, "create")
    ada.send(upload.chunk_packet(1))
    gate.wait_for_arrival()
    later.login("ada", None, session_key=ada.session_key)
    assert later.ask("file_cancel", **upload.named)["action"] == "file_cancelled"
    gate.open()
    until(lambda: len(service.registry.connections()) == 1, "the old thread does not end")
    assert flat_files(service) == []


@pytest.mark.parametrize("action", ["file_cancel", "file_send_init"])
def test_who_comes_after_the_end_of_an_upload_leaves_its_bytes_alone(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    service = serve()
    monkeypatch.setattr("server.handlers.sessions.PREDECESSOR_SECONDS", 0.01)
    witness, ada = member(service, "witness"), member(service, "ada")
    upload = begun(ada)
    gate = Gate(monkeypatch, service.files, "finish")
    fin_later(upload)
    gate.wait_for_arrival()
    later = stranger(service)
    later.login("ada", None, session_key=ada.session_key)
    with HeldWriter(service, monkeypatch) as writer:
        gate.open()
        writer.wait_for_change()  # the file's row waits to be stored
        if action == "file_cancel":
            asked = ask_later(later, "file_cancel", **upload.named)
        else:
            new = {"file_size": 5, "file_type": "x", "total_packets": 1}
            asked = ask_later(later, "file_send_init", **upload.named, **new)
        writer.wait_for_change()
    reply = answer(later, asked)
    if action == "file_cancel":
        assert error_code(reply) == "file_not_found"
    else:
        assert reply["action"] == "file_send_init", reply
    witness.receive_action("receive_file")
    assert listed(witness) == ["work"] and download_is_whole(witness)


def test_a_session_waits_for_all_before_it_that_have_something_to_save(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(1000.0)  # stands still: the wait has no end of its own
    service = serve(clock=clock)
    witness, ada = member(service, "witness"), member(service, "ada")
    upload = begun(ada)
    gate = Gate(monkeypatch, service.files, "finish")
    fin_later(upload)
    gate.wait_for_arrival()
    between = stranger(service)
    between.login("ada", None, session_key=ada.session_key)
    between.close()
    until(lambda: len(service.registry.connections()) == 2, "the one between stays")
    later = stranger(service)
    later.login("ada", None, session_key=ada.session_key)
    asked = ask_later(later, "file_cancel", **upload.named)
    gate.open()
    assert error_code(answer(later, asked)) == "file_not_found"
    assert listed(witness) == ["work"] and download_is_whole(witness)


def test_quotas_are_counted_where_the_upload_is_opened(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = serve(quota=1500)
    monkeypatch.setattr("server.handlers.sessions.PREDECESSOR_SECONDS", 0.01)
    ada = member(service, "ada")
    later = stranger(service)
    size = {"room_id": "lobby", "file_size": 1000, "file_type": "x", "total_packets": 1}
    with HeldWriter(service, monkeypatch) as writer:
        ask_later(ada, "file_send_init", file_path="one", **size)
        writer.wait_for_change()
        login_later(later, "ada", session_key=ada.session_key)
        writer.wait_for_change()
    assert later.receive()["action"] == "login_success"
    later.chatid = "ada"
    reply = later.ask("file_send_init", file_path="two", **size)
    assert error_code(reply) == "quota_exceeded"
    with pytest.raises(NothingCame):
        later.receive(0.01)
