"""Ctrl-C and SIGTERM: asked between steps, so that a run saves and then stops."""

import signal
import sys

import jax
from jax.experimental import multihost_utils

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(Exception):
    """A run was asked to stop, and has saved.

    Attributes:
        step: where.
        signal: what asked.
    """

    def __init__(self, step, signal):
        super().__init__(f"stopped and saved at step {step}; the same command goes on from there")
        self.step, self.signal = step, signal


class StopRequests:
    """Listens for the signals while the `with` block runs; a second Ctrl-C stops at once.

    With several processes a signal to one of them stops all of them at the same step.
    """

    def __init__(self):
        self.signal = None

    def __enter__(self):
        # With several processes JAX itself listens for SIGTERM.
        heard = SIGNALS if jax.process_count() == 1 else (signal.SIGINT,)
        self._before = {number: signal.signal(number, self._receive) for number in heard}
        return self

    def __exit__(self, *error):
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _receive(self, number, frame):
        self.signal = number
        signal.signal(number, self._before[number])
        print("\nstopping after this step, then saving", file=sys.stderr)
        if jax.process_count() > 1:
            # JAX spreads the word of a SIGTERM, and of that alone, to the other processes.
            signal.raise_signal(signal.SIGTERM)

    def asked_at(self, step):
        """The signal that asks to stop before the step after `step`, or None."""
        if jax.process_count() == 1:
            return self.signal
        if multihost_utils.reached_preemption_sync_point(step):
            return self.signal or signal.SIGTERM
        return None
