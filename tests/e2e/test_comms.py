"""Comms, opened from either side, with binary buffers both ways."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from .client import Client, Message

TARGET = """
import comm
got = []
def opened(channel, message):
    got.append(('open', message['content']['data'], [bytes(b) for b in message['buffers']]))
    @channel.on_msg
    def receive(message):
        data = message['content']['data']
        got.append(('msg', data, [bytes(b) for b in message['buffers']]))
        if data == 'fail':
            raise ValueError('in a callback')
        print('received', data)
        channel.send({'echo': data}, metadata={'m': 1}, buffers=[bytes(b)[::-1] for b in message['buffers']])
    @channel.on_close
    def close(message):
        got.append(('close', message['content']['data'], []))
comm.get_comm_manager().register_target('echo', opened)
"""


@pytest.fixture
def target(client: Client) -> Client:
    """A client of a kernel that has a comm target."""
    assert client.execute(TARGET).status == "ok"
    return client


def published(run_messages: list[Message], kind: str) -> list[Message]:
    """The messages of a type."""
    return [m for m in run_messages if m["msg_type"] == kind]


def buffers(message: Message) -> list[bytes]:
    """The buffers of a message as bytes."""
    return [bytes(b) for b in message["buffers"]]


@pytest.mark.row("Seen to break", "comms that the frontend opens")
@pytest.mark.row("Protocol", "busy and idle around comm messages, whose publishes carry that parent")
def test_a_comm_that_the_frontend_opens(target: Client) -> None:
    comm_id = uuid.uuid4().hex
    open_it = {"comm_id": comm_id, "target_name": "echo", "data": {"a": 1}}
    run = target.ask("comm_open", open_it, buffers=[b"\x00\xff", b""])
    assert run.types == []
    run = target.ask("comm_msg", {"comm_id": comm_id, "data": "hello"}, buffers=[b"abc", bytes(range(256)) * 4096])
    assert run.text() == "received hello\n"
    (echo,) = published(run.published, "comm_msg")
    assert echo["content"] == {"comm_id": comm_id, "data": {"echo": "hello"}}
    assert echo["metadata"] == {"m": 1}
    assert buffers(echo) == [b"cba", bytes(range(256))[::-1] * 4096]
    info = target.ask("comm_info_request", {"target_name": "echo"}).reply
    assert info["comms"][comm_id] == {"target_name": "echo"}
    target.ask("comm_close", {"comm_id": comm_id, "data": {"bye": 1}})
    assert comm_id not in target.ask("comm_info_request").reply["comms"]
    assert target.evaluate("got[0]") == r"('open', {'a': 1}, [b'\x00\xff', b''])"
    assert target.evaluate("got[1][:2], got[2:]") == "(('msg', 'hello'), [('close', {'bye': 1}, [])])"


@pytest.mark.row("Seen to break", "comm buffers of every kind")
def test_a_comm_that_the_kernel_opens(client: Client) -> None:
    run = client.execute(
        "import array, comm\n"
        "mine = comm.create_comm(target_name='theirs', data={'x': 1}, metadata={'version': '2'}, buffers=[b'one'])\n"
        "heard = []\nmine.on_msg(lambda m: heard.append((m['content']['data'], [bytes(b) for b in m['buffers']])))\n"
        "mine.send('now', buffers=[bytearray(b'two'), memoryview(b'three'), array.array('i', [1, 2])])\n"
        "mine.comm_id"
    )
    (opened,), (sent,) = published(run.published, "comm_open"), published(run.published, "comm_msg")
    comm_id = run.result.strip("'")
    assert opened["content"] == {
        "comm_id": comm_id,
        "target_name": "theirs",
        "target_module": None,
        "data": {"x": 1},
    }
    assert opened["metadata"] == {"version": "2"}
    assert buffers(opened) == [b"one"]
    assert buffers(sent) == [b"two", b"three", b"\x01\x00\x00\x00\x02\x00\x00\x00"]
    client.ask("comm_msg", {"comm_id": comm_id, "data": {"slider": 7}}, buffers=[b"b"])
    assert client.evaluate("heard") == "[({'slider': 7}, [b'b'])]"
    run = client.execute("mine.close({'why': 'done'})")
    (closed,) = published(run.published, "comm_close")
    assert closed["content"] == {"comm_id": comm_id, "data": {"why": "done"}}


def test_an_unknown_target_is_closed_again(client: Client) -> None:
    comm_id = uuid.uuid4().hex
    run = client.ask("comm_open", {"comm_id": comm_id, "target_name": "nobody", "data": {}})
    (closed,) = published(run.published, "comm_close")
    assert closed["content"]["comm_id"] == comm_id
    assert "nobody" in run.text("stderr")
    assert comm_id not in client.ask("comm_info_request").reply["comms"]


@pytest.mark.row("Seen to break", "errors in comm callbacks are shown")
def test_errors_in_callbacks_are_shown(target: Client) -> None:
    comm_id = uuid.uuid4().hex
    target.ask("comm_open", {"comm_id": comm_id, "target_name": "echo", "data": {}})
    run = target.ask("comm_msg", {"comm_id": comm_id, "data": "fail"})
    assert "in a callback" in run.text("stderr")
    assert target.execute("1").status == "ok"
    target.execute("comm.get_comm_manager().register_target('bad', lambda c, m: 1 / 0)")
    run = target.ask("comm_open", {"comm_id": uuid.uuid4().hex, "target_name": "bad", "data": {}})
    assert "ZeroDivisionError" in run.text("stderr")
    assert published(run.published, "comm_close")


@pytest.mark.parametrize("kind", ["comm_msg", "comm_close"])
def test_messages_for_a_comm_that_is_gone_are_ignored(client: Client, kind: str) -> None:
    run = client.ask(kind, {"comm_id": "no-such-comm", "data": {}})
    assert run.types == []


def test_a_comm_message_that_makes_no_sense_costs_nothing(client: Client) -> None:
    bad: list[dict[str, Any]] = [{}, {"comm_id": 7, "data": {}}, {"data": {}}]
    for content in bad:
        client.ask("comm_msg", content)
    assert client.execute("1").result == "1"


def test_widgets_and_their_events(client: Client) -> None:
    """The comms that ipywidgets makes, and the callback of a button that the frontend clicks."""
    run = client.execute(
        "import ipywidgets\nslider = ipywidgets.IntSlider(3)\nbutton = ipywidgets.Button()\n"
        "button.on_click(lambda b: print('clicked'))\nimage = ipywidgets.Image(value=b'\\x89PNG')\nslider"
    )
    (content,) = run.contents("execute_result")
    view = content["data"]["application/vnd.jupyter.widget-view+json"]
    opened = {m["content"]["comm_id"]: m for m in published(run.published, "comm_open")}
    assert opened[view["model_id"]]["content"]["data"]["state"]["value"] == 3
    png = [m for m in opened.values() if m["content"]["data"]["state"].get("_model_name") == "ImageModel"]
    assert buffers(png[0]) == [b"\x89PNG"]
    update = {"method": "update", "state": {"value": 8}, "buffer_paths": []}
    run = client.ask("comm_msg", {"comm_id": view["model_id"], "data": update})
    assert client.evaluate("slider.value") == "8"
    button = client.evaluate("button.model_id").strip("'")
    click = {"method": "custom", "content": {"event": "click"}}
    assert client.ask("comm_msg", {"comm_id": button, "data": click}).text() == "clicked\n"
    run = client.execute("out = ipywidgets.Output()\nwith out: print('inside')")
    assert run.text() == "inside\n"  # which the frontend puts into the widget, told by msg_id
    states = [m["content"]["data"].get("state", {}) for m in published(run.published, "comm_msg")]
    assert run.request["header"]["msg_id"] in [s.get("msg_id") for s in states]
