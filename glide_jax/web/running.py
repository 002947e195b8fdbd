"""Work in a thread of its own, watched from outside, and ended when nobody watches any more."""

import queue
import threading
from typing import Any, NamedTuple

HEARTBEAT = 0.5  # seconds


class Stopped(Exception):
    """Ends work that nobody watches any more."""


class News(NamedTuple):
    """How far work is."""

    fraction: float
    images: Any = None  # those begun, uint8 [n, H, W, 3]; None where there is nothing new
    result: Any = None  # of the work, at its end


def watched(work):
    """Yields News of `work(progress)`, also when nothing is new, and at its end its result.

    `progress(fraction, images)` is for the work to call. Once the generator is closed, that raises
    Stopped in the work's thread. What the work raises is raised here.
    """
    told, stop = queue.SimpleQueue(), threading.Event()

    def progress(fraction, images):
        if stop.is_set():
            raise Stopped
        told.put(News(fraction, images))

    def run():
        try:
            told.put(News(1.0, result=work(progress)))
        except Stopped:
            pass
        except Exception as error:
            told.put(error)

    threading.Thread(target=run, daemon=True).start()
    news = News(0.0)
    try:
        while news.result is None:
            try:
                news = told.get(timeout=HEARTBEAT)
            except queue.Empty:
                news = News(news.fraction)
            if isinstance(news, Exception):
                raise news
            yield news
    finally:
        stop.set()
