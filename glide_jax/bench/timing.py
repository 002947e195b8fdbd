"""Several callables timed side by side, so that what disturbs one disturbs all."""

import time
from statistics import median
from typing import NamedTuple

import jax


class Spent(NamedTuple):
    """What one call took, in seconds."""

    wall: float
    processor: float  # of all threads of this process; of work on a GPU or TPU the host's part


class Timing(NamedTuple):
    """What all calls of a callable took."""

    first: Spent  # with tracing and compiling
    rounds: list[Spent]

    @property
    def least(self):
        """Seconds of the fastest call."""
        return min(spent.wall for spent in self.rounds)

    @property
    def median(self):
        """Seconds of the call in the middle."""
        return median(spent.wall for spent in self.rounds)

    @property
    def least_processor(self):
        """Processor seconds of the call that took the fewest."""
        return min(spent.processor for spent in self.rounds)

    @property
    def compiling(self):
        """Seconds that the first call took beyond the fastest."""
        return self.first.wall - self.least


CLOCKS = (time.perf_counter, time.process_time)


def compare(callables, rounds, bar, clocks=CLOCKS):
    """Calls each once, once more to warm up, and then once in each round.

    Args:
        callables: by name; what they give is waited for.
        rounds: how many; every other one goes backwards, so that none always follows the same one.
        bar: is told of every call.
        clocks: that of the wall and that of the processor.

    Returns:
        A Timing of each, by name.
    """

    def timed(name):
        before = [clock() for clock in clocks]
        jax.block_until_ready(callables[name]())
        spent = Spent(*(clock() - start for clock, start in zip(clocks, before, strict=True)))
        bar.update()
        return spent

    timings = {}
    for name in callables:
        timings[name] = Timing(timed(name), [])
        timed(name)
    for number in range(rounds):
        for name in list(callables)[:: -1 if number % 2 else 1]:
            timings[name].rounds.append(timed(name))
    return timings
