"""Ctrl-C and SIGTERM between steps."""

import signal

import pytest

from glide_jax.training.stop import StopRequests


@pytest.fixture
def interruptible():
    """Python's own handler of Ctrl-C, in the place of a test worker's."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_first_ctrl_c_asks_and_a_second_one_stops(interruptible, capsys):
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), StopRequests() as requests:
        assert requests.asked_at(1) is None
        signal.raise_signal(signal.SIGINT)
        assert requests.asked_at(1) == signal.SIGINT
        assert "stopping after this step, then saving" in capsys.readouterr().err
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGTERM) is before
