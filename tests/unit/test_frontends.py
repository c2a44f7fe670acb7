"""What frontends are told: the words of the protocol, under the right parent, in order."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fakes import KEY, Clock, Received, Sockets, message
from ipymini_supervisor.frontends import Frontends
from ipymini_supervisor.lanes import Request
from ipymini_supervisor.outbox import Outbox
from ipymini_supervisor.session import Session


class House:
    """`Frontends` with fakes around it."""

    def __init__(self) -> None:
        self.session = Session(KEY)
        self.sockets = Sockets()
        self.outbox = Outbox()
        self.outbox.subscribers = 1
        self.frontends = Frontends(self.session, self.sockets, self.outbox, Clock())  # type: ignore[arg-type]
        self._count = 0

    def asks(self, msg_type: str = "execute_request", client: bytes = b"client") -> Request:
        """A request has come from a client."""
        self._count += 1
        request = Request(self._count, "shell", message(msg_type, msg_id=f"asked-{self._count}", idents=[client]))
        self.frontends.remember(request)
        return request

    def published(self) -> list[Received]:
        """What has gone out on iopub since the last call."""
        self.outbox.pump(lambda parts: self.sockets.send("iopub", parts), 0.0)
        found = [Received(parts) for channel, parts in self.sockets.sent if channel == "iopub"]
        self.sockets.sent = [entry for entry in self.sockets.sent if entry[0] != "iopub"]
        return found

    def streams(self) -> list[tuple[str, str, str]]:
        """The stream messages that have gone out: name, parent, text."""
        return [(m.content["name"], m.parent["msg_id"], m.content["text"]) for m in self.published()]


@pytest.fixture
def house() -> House:
    return House()


def parent_of(request: Request) -> bytes:
    return request.message.header_bytes


def test_status_has_the_request_as_parent(house: House) -> None:
    request = house.asks()
    house.frontends.status("busy", request)
    (status,) = house.published()
    assert (status.type, status.content, status.parent["msg_id"]) == (
        "status",
        {"execution_state": "busy"},
        "asked-1",
    )


def test_status_of_the_kernel_itself_has_a_parent_that_clients_can_look_into(house: House) -> None:
    house.frontends.status("starting")
    (status,) = house.published()
    assert status.parent["msg_id"]
    assert status.parent["msg_type"]


def test_messages_are_signed_and_carry_their_topic(house: House) -> None:
    house.frontends.publish("display_data", {"data": {}}, parent_of(house.asks()), {"m": 1}, [b"\0buffer"])
    house.outbox.pump(lambda parts: house.sockets.send("iopub", parts), 0.0)
    parts = house.sockets.sent[0][1]
    assert parts[0] == f"kernel.{house.session.id}.display_data".encode()
    read = Session(KEY).unpack(parts)
    assert read.header.msg_type == "display_data"
    assert (json.loads(read.metadata), read.buffers) == ({"m": 1}, (b"\0buffer",))


def test_text_of_one_stream_and_parent_is_joined(house: House) -> None:
    parent = parent_of(house.asks())
    for word in ("a", "b", "c"):
        house.frontends.text("stdout", word, parent)
    assert house.frontends.has_text
    assert house.published() == []
    house.frontends.flush_text()
    assert not house.frontends.has_text
    assert house.streams() == [("stdout", "asked-1", "abc")]


def test_streams_and_parents_are_kept_apart_and_in_order(house: House) -> None:
    first, second = parent_of(house.asks()), parent_of(house.asks())
    house.frontends.text("stdout", "a", first)
    house.frontends.text("stderr", "b", first)
    house.frontends.text("stdout", "c", first)
    house.frontends.text("stdout", "d", second)
    house.frontends.text("stdout", "e", second)
    house.frontends.flush_text()
    assert house.streams() == [
        ("stdout", "asked-1", "a"),
        ("stderr", "asked-1", "b"),
        ("stdout", "asked-1", "c"),
        ("stdout", "asked-2", "de"),
    ]


def test_text_comes_before_whatever_is_published_after_it(house: House) -> None:
    request = house.asks()
    house.frontends.text("stdout", "before", parent_of(request))
    house.frontends.publish("display_data", {}, parent_of(request))
    house.frontends.text("stdout", "after", parent_of(request))
    house.frontends.status("idle", request)
    assert [m.type for m in house.published()] == ["stream", "display_data", "stream", "status"]


def test_much_text_does_not_wait_for_more(house: House) -> None:
    parent = parent_of(house.asks())
    for _ in range(40):
        house.frontends.text("stdout", "x" * 100_000, parent)
    house.frontends.flush_text()
    texts = [text for _, _, text in house.streams()]
    assert sum(len(text) for text in texts) == 4_000_000
    assert len(texts) > 1


def test_bytes_of_a_descriptor_may_be_cut_anywhere(house: House) -> None:
    parent = parent_of(house.asks())
    data = "ünï©ödé \U0001f600".encode()
    for at in range(len(data)):
        house.frontends.raw_text("stdout", data[at : at + 1], parent)
    house.frontends.flush_text()
    assert house.streams() == [("stdout", "asked-1", "ünï©ödé \U0001f600")]


def test_bytes_of_two_descriptors_do_not_complete_each_other(house: House) -> None:
    parent = parent_of(house.asks())
    house.frontends.raw_text("stdout", b"\xc3", parent)
    house.frontends.raw_text("stderr", b"\xbc!", parent)
    house.frontends.raw_text("stdout", b"\xbc", parent)
    house.frontends.flush_text()
    assert house.streams() == [("stderr", "asked-1", "\ufffd!"), ("stdout", "asked-1", "ü")]


def test_bytes_that_are_no_text_are_replaced(house: House) -> None:
    house.frontends.raw_text("stderr", b"a\xff\xfeb", parent_of(house.asks()))
    house.frontends.flush_text()
    assert house.streams() == [("stderr", "asked-1", "a\ufffd\ufffdb")]


def test_reply_goes_to_whoever_asked_with_the_metadata_of_other_kernels(house: House) -> None:
    house.asks(client=b"somebody else")
    request = house.asks(client=b"me")
    request.started = "2024-01-01T00:00:00Z"
    house.frontends.reply(request, {"status": "ok"}, "ok", [b"buffer"])
    ((channel, parts),) = house.sockets.sent
    reply = Received(parts)
    assert (channel, reply.idents, reply.type) == ("shell", [b"me"], "execute_reply")
    assert (reply.parent["msg_id"], reply.content, reply.buffers) == ("asked-2", {"status": "ok"}, [b"buffer"])
    assert reply.metadata == {
        "started": "2024-01-01T00:00:00Z",
        "dependencies_met": True,
        "engine": house.session.id,
        "status": "ok",
    }


@pytest.mark.parametrize(
    ("asked", "replied"),
    [("kernel_info_request", "kernel_info_reply"), ("comm_info_request", "comm_info_reply"), ("strange", "strange")],
)
def test_reply_has_the_name_of_its_request(house: House, asked: str, replied: str) -> None:
    house.frontends.reply(house.asks(asked), {}, "ok")
    assert Received(house.sockets.sent[0][1]).type == replied


def test_question_goes_to_whoever_made_the_request_after_its_text(house: House) -> None:
    request = house.asks(client=b"me")
    house.frontends.text("stdout", "who?", parent_of(request))
    assert house.frontends.ask(request.id, b'{"prompt": "", "password": false}')
    assert [text for _, _, text in house.streams()] == ["who?"]
    ((channel, parts),) = house.sockets.sent
    question = Received(parts)
    assert (channel, question.idents, question.type) == ("stdin", [b"me"], "input_request")
    assert question.content == {"prompt": "", "password": False}
    assert question.parent["msg_id"] == "asked-1"


def test_question_of_an_unknown_request_is_not_asked(house: House) -> None:
    assert not house.frontends.ask(99, b"{}")
    assert house.sockets.sent == []


def test_headers_of_the_latest_requests_are_kept_and_not_of_all(house: House) -> None:
    requests = [house.asks() for _ in range(1000)]
    assert house.frontends.parent(requests[-1].id) == parent_of(requests[-1])
    assert house.frontends.parent(requests[-200].id) == parent_of(requests[-200])
    assert house.frontends.idents(requests[-1].id) == (b"client",)
    assert house.frontends.idents(requests[0].id) is None
    assert house.frontends.parent(requests[0].id) == parent_of(requests[-1])


def test_parent_of_no_request_is_that_of_the_kernel_s_own_life(house: House) -> None:
    assert json.loads(house.frontends.parent(0))["msg_id"]
    assert house.frontends.parent(5) == house.frontends.parent(0)
    assert house.frontends.last_parent() == house.frontends.parent(0)
    request = house.asks()
    assert house.frontends.last_parent() == parent_of(request)


@pytest.mark.parametrize("topic", [b"", b"kernel.", b"\xff"])
def test_new_subscriber_is_welcomed_under_its_topic(house: House, topic: bytes) -> None:
    house.frontends.welcome(topic)
    (welcome,) = house.published()
    assert (welcome.idents, welcome.type) == ([topic], "iopub_welcome")
    assert welcome.content == {"subscription": topic.decode("utf-8", "replace")}
    assert welcome.parent["msg_id"]


def test_welcome_is_not_lost_when_the_socket_is_full(house: House) -> None:
    house.sockets.blocked.add("iopub")
    house.frontends.welcome(b"")
    house.sockets.blocked.clear()
    assert [m.type for m in house.published()] == ["iopub_welcome"]


def test_every_message_has_an_id_of_its_own(house: House) -> None:
    request = house.asks()
    for _ in range(5):
        house.frontends.status("busy", request)
        house.frontends.reply(request, {}, "ok")
    ids: list[Any] = [m.header["msg_id"] for m in house.published()]
    ids += [Received(parts).header["msg_id"] for _, parts in house.sockets.sent]
    assert len(set(ids)) == 10
