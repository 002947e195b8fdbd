"""Ctrl-C and SIGTERM between steps."""

import signal

import pytest

from glide_jax.training.stop import StopRequests


def test_a_first_ctrl_c_asks_and_a_second_one_stops(capsys):
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), StopRequests() as requests:
        assert requests.asked_at(1) is None
        signal.raise_signal(signal.SIGINT)
        assert requests.asked_at(1) == signal.SIGINT
        assert "stopping after this step, then saving" in capsys.readouterr().err
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGTERM) is before
