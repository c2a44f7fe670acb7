"""Comms, opened from either side, with binary buffers both ways."""

from __future__ import annotations

import pytest

from worker.driver import Answer, Worker

OPEN = """
import comm
got = []
def target(opened, msg):
    got.append((opened.comm_id, msg["content"]["data"], msg["metadata"], [bytes(b) for b in msg["buffers"]]))
    opened.on_msg(lambda m: opened.send({"echo": m["content"]["data"]}, buffers=m["buffers"]))
    opened.on_close(lambda m: print("closed with", m["content"]["data"]))
comm.get_comm_manager().register_target("mine", target)
"""


@pytest.fixture(scope="module")
def ready(worker: Worker) -> Worker:
    worker.good(OPEN)
    return worker


def opened(worker: Worker, comm_id: str, target: str = "mine", **extra: object) -> Answer:
    content = {"comm_id": comm_id, "target_name": target, "data": {"hello": 1}, **extra}
    return worker.answer(worker.ask("comm_open", content, {"meta": 1}, [b"\x00\xff", b""]))


def said(worker: Worker, comm_id: str, data: object, buffers: tuple[bytes, ...] = ()) -> Answer:
    return worker.answer(worker.ask("comm_msg", {"comm_id": comm_id, "data": data}, {}, buffers))


def test_comm_that_the_frontend_opens_reaches_its_target_with_data_metadata_and_buffers(ready: Worker) -> None:
    answer = opened(ready, "c1")
    assert answer.content == {}
    assert answer.flags == 0
    assert ready.good("got[-1]").result == repr(("c1", {"hello": 1}, {"meta": 1}, [b"\x00\xff", b""]))


def test_message_gets_its_answer_as_part_of_its_own_request(ready: Worker) -> None:
    opened(ready, "c2")
    large = bytes(range(256)) * 5000
    answer = said(ready, "c2", {"n": [1, None]}, (b"ab", large))
    (event,) = answer.events
    assert (event.type, event.request) == ("comm_msg", answer.request)
    assert event.content == {"comm_id": "c2", "data": {"echo": {"n": [1, None]}}}
    assert event.buffers == [b"ab", large]


def test_close_from_the_frontend_is_told_to_the_comm_and_answered_by_nothing(ready: Worker) -> None:
    opened(ready, "c3")
    answer = ready.answer(ready.ask("comm_close", {"comm_id": "c3", "data": {"why": 1}}))
    assert [(e.type, e.content) for e in answer.events if e.type != "stdout"] == []
    assert answer.stdout == "closed with {'why': 1}\n"
    assert "c3" not in ready.get("comm_info_request", {})["comms"]


def test_unknown_target_is_closed_again_and_said_on_stderr(ready: Worker) -> None:
    answer = opened(ready, "c4", "nobody")
    assert [e.content["comm_id"] for e in answer.events if e.type == "comm_close"] == ["c4"]
    assert "nobody" in answer.stderr
    assert "c4" not in ready.get("comm_info_request", {})["comms"]


def test_target_that_raises_is_shown_and_the_comm_closed(ready: Worker) -> None:
    ready.good(
        "def broken(c, m): raise ValueError('no comm today')\ncomm.get_comm_manager().register_target('b', broken)"
    )
    answer = opened(ready, "c5", "b")
    assert "no comm today" in answer.stderr
    assert [e.content["comm_id"] for e in answer.events if e.type == "comm_close"] == ["c5"]


def test_error_in_a_callback_is_shown_and_the_comm_lives_on(ready: Worker) -> None:
    ready.good(
        "def fragile(opened, msg):\n"
        "    @opened.on_msg\n"
        "    def _(m):\n"
        "        if m['content']['data'].get('bad'): raise LookupError('bad data')\n"
        "        opened.send('fine')\n"
        "comm.get_comm_manager().register_target('fragile', fragile)"
    )
    opened(ready, "c6", "fragile")
    answer = said(ready, "c6", {"bad": True})
    assert "LookupError" in answer.stderr
    assert "bad data" in answer.stderr
    assert answer.of("error") == []
    assert said(ready, "c6", {}).of("comm_msg") == [{"comm_id": "c6", "data": "fine"}]


def test_message_to_a_comm_that_is_gone_is_ignored(ready: Worker) -> None:
    answer = said(ready, "nowhere", {})
    assert answer.events == []
    assert ready.good("'on'").result == "'on'"


def test_comm_that_a_cell_opens_carries_its_target_and_module(ready: Worker) -> None:
    answer = ready.good(
        "c = comm.create_comm(target_name='front', data={'a': 1}, metadata={'m': 2}, buffers=[b'xy'], target_module='mod')\n"
        "print(c.comm_id)"
    )
    (event,) = [e for e in answer.events if e.type == "comm_open"]
    comm_id = answer.stdout.strip()
    assert event.content == {"data": {"a": 1}, "comm_id": comm_id, "target_name": "front", "target_module": "mod"}
    assert (event.metadata, event.buffers) == ({"m": 2}, [b"xy"])
    assert ready.get("comm_info_request", {})["comms"][comm_id] == {"target_name": "front"}
    assert ready.good("c.close({'bye': 1})").of("comm_close") == [{"data": {"bye": 1}, "comm_id": comm_id}]
    assert comm_id not in ready.get("comm_info_request", {})["comms"]


def test_comm_info_may_ask_for_one_target(ready: Worker) -> None:
    opened(ready, "c7")
    comms = ready.get("comm_info_request", {"target_name": "mine"})["comms"]
    assert comms["c7"] == {"target_name": "mine"}
    assert {entry["target_name"] for entry in comms.values()} == {"mine"}
    assert ready.get("comm_info_request", {"target_name": "none"}) == {"status": "ok", "comms": {}}


@pytest.mark.parametrize(
    ("buffer", "expected"),
    [
        ("bytearray(b'ab')", b"ab"),
        ("memoryview(b'abcd').cast('H')", b"abcd"),
        ("__import__('numpy').arange(3, dtype='u1').reshape(1, 3)", b"\x00\x01\x02"),
        ("__import__('numpy').zeros((0, 3))", b""),
        ("__import__('array').array('d')", b""),
        ("__import__('numpy').asfortranarray([[1, 2], [3, 4]]).astype('u1', order='F')", b"\x01\x03\x02\x04"),
    ],
)
def test_buffers_of_any_contiguous_kind_are_sent(ready: Worker, buffer: str, expected: bytes) -> None:
    answer = ready.good(f"comm.create_comm(target_name='front', buffers=[{buffer}]).close()")
    (event,) = [e for e in answer.events if e.type == "comm_open"]
    assert event.buffers == [expected]


def test_buffer_that_is_not_contiguous_is_refused_with_a_plain_sentence(ready: Worker) -> None:
    ename, evalue = ready.run("c = comm.create_comm('x')\nc.send(buffers=[memoryview(b'abcd')[::2]])").failure
    assert ename == "ValueError"
    assert "not contiguous" in evalue


def test_real_widget_opens_updates_and_hears(ready: Worker) -> None:
    answer = ready.good(
        "import ipywidgets\ns = ipywidgets.IntSlider(3)\ns.observe(lambda c: print('now', c.new), 'value')\ns"
    )
    model = answer.of("execute_result")[0]["data"]["application/vnd.jupyter.widget-view+json"]["model_id"]
    assert model in {content["comm_id"] for content in answer.of("comm_open")}
    heard = said(ready, model, {"method": "update", "state": {"value": 8}, "buffer_paths": []})
    assert heard.stdout == "now 8\n"
    assert ready.good("s.value").result == "8"
    assert ready.good("s.value = 9").of("comm_msg")[0]["data"]["state"] == {"value": 9}
