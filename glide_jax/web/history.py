"""What was made on the page, step after step, with a way back."""

from typing import NamedTuple

import numpy as np

LONGEST = 50  # steps that are kept
LARGEST = 2**25  # bytes that all of their pictures may have


class Picture(NamedTuple):
    """A picture and how it was made."""

    image: np.ndarray  # uint8 [H, W, 3]
    settings: dict  # as a PNG's metadata has them; empty for a picture from elsewhere

    @property
    def prompt(self):
        """What it is to show, as far as its settings tell."""
        prompts = self.settings.get("prompts")
        return prompts[0] if isinstance(prompts, list) and prompts else ""


class Step(NamedTuple):
    """Pictures that were made at once."""

    title: str
    pictures: tuple[Picture, ...]
    chosen: int = 0  # the picture to go on from

    @property
    def nbytes(self):
        """Of its pictures."""
        return sum(picture.image.nbytes for picture in self.pictures)


class History(NamedTuple):
    """The steps so far and the one that is shown; every change is a new History."""

    steps: tuple[Step, ...] = ()
    place: int = -1

    @property
    def step(self):
        """The one that is shown, or None."""
        return self.steps[self.place] if self.steps else None

    @property
    def picture(self):
        """The one to go on from, or None."""
        return self.step and self.step.pictures[self.step.chosen]

    def add(self, title, pictures):
        """With a new step after the shown one; those that were ahead, and the oldest, go."""
        steps = (*self.steps[: self.place + 1], Step(title, tuple(pictures)))[-LONGEST:]
        while len(steps) > 1 and sum(step.nbytes for step in steps) > LARGEST:
            steps = steps[1:]
        return History(steps, len(steps) - 1)

    def go(self, by):
        """As it was `by` steps ahead (back if negative), as far as there are any."""
        return self._replace(place=min(max(self.place + by, 0), len(self.steps) - 1))

    def choose(self, index):
        """With another picture of the shown step to go on from; a ValueError if there is none."""
        if self.step is None or not 0 <= index < len(self.step.pictures):
            raise ValueError(f"picture {index + 1} is not there: click on one that is shown")
        steps = list(self.steps)
        steps[self.place] = self.step._replace(chosen=index)
        return self._replace(steps=tuple(steps))
