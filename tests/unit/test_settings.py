"""Settings from the environment; bad values are named and left out."""

from __future__ import annotations

import pytest

from ipymini_supervisor.session import MOST_PARTS
from ipymini_supervisor.settings import Settings
from ipymini_worker.wire import LIMIT

GRACE, KILL, SLOW = "IPYMINI_SHUTDOWN_GRACE", "IPYMINI_INTERRUPT_KILL_AFTER", "IPYMINI_SLOW_SUBSCRIBER_TIMEOUT"
PATIENCE = "IPYMINI_STOP_ON_ERROR_TIMEOUT"


def test_defaults() -> None:
    assert Settings.read({}) == Settings() == Settings.read({GRACE: "", KILL: "", SLOW: ""})
    assert Settings().interrupt_kill_after is None


def test_values_are_seconds() -> None:
    assert Settings.read({GRACE: "2.5", KILL: "10", SLOW: "3"}) == Settings(2.5, 10.0, 3.0)


@pytest.mark.parametrize(("text", "seconds"), [("", 0.0), ("0", 0.0), ("0.1", 0.1), ("-1", 0.0), ("soon", 0.0)])
def test_patience_after_an_error_may_be_none(text: str, seconds: float) -> None:
    assert Settings.read({PATIENCE: text}).stop_on_error_timeout == seconds


@pytest.mark.parametrize("text", ["soon", "0", "-1", "nan", "inf", "-inf", "1e9", "1s", "\x00"])
@pytest.mark.parametrize("name", [GRACE, KILL, SLOW])
def test_bad_value_is_named_and_left_out(name: str, text: str, caplog: pytest.LogCaptureFixture) -> None:
    assert Settings.read({name: text}) == Settings()
    assert name in caplog.text


def test_size_of_a_message_is_in_bytes() -> None:
    assert Settings().max_message == 1 << 30
    assert Settings.read({"IPYMINI_MAX_MESSAGE": "4096"}).max_message == 4096


def test_message_has_to_have_room_in_a_frame() -> None:
    largest = Settings.read({"IPYMINI_MAX_MESSAGE": "9" * 15}).max_message
    assert LIMIT > largest + 8 * MOST_PARTS > LIMIT - (2 << 20)


@pytest.mark.parametrize("text", ["much", "0", "-1", "4095", "1e9", "1G", "²", "9" * 30])
def test_bad_size_is_named_and_left_out(text: str, caplog: pytest.LogCaptureFixture) -> None:
    assert Settings.read({"IPYMINI_MAX_MESSAGE": text}) == Settings()
    assert "IPYMINI_MAX_MESSAGE" in caplog.text


@pytest.mark.parametrize(("text", "allowed"), [("1", True), ("", False), ("0", False), ("no", False), ("yes", False)])
def test_unsigned_messages_are_allowed_by_one_value_only(text: str, allowed: bool) -> None:
    assert Settings.read({"IPYMINI_ALLOW_UNSIGNED": text}).allow_unsigned is allowed
