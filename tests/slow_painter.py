"""A stand-in for Pipeline, for tests of the page: plain colours, piece by piece, and no network."""

import time

import numpy as np

SIDE, PIECES = 32, 10


class SlowPainter:
    """Every picture has the one colour that its seed gives; each piece takes `pause` seconds."""

    pause = 0.0
    working = 0  # how many paint at this moment
    most = 0  # and how many ever did

    @classmethod
    def load(cls, folder, dtype):
        return cls()

    def text_to_image(self, prompts, *, num, seed, progress, **settings):
        images = np.stack([self.painted(seed + i) for i in range(num)])
        return self._piecewise(images, progress)

    def image_to_image(self, images, prompts, *, strength, num, seed, progress, **settings):
        return self.text_to_image(prompts, num=num, seed=seed, progress=progress)

    def inpaint(self, images, masks, prompts, *, num, seed, progress, **settings):
        drawn = np.stack([self.painted(seed + i) for i in range(num)])
        return self._piecewise(np.where(masks[..., None], images, drawn), progress)

    def upsample(self, images, prompts, *, seed, progress):
        return self._piecewise(images.repeat(2, axis=1).repeat(2, axis=2), progress)

    @staticmethod
    def painted(seed):
        """Its colour, never that of another of the next 200 seeds."""
        return np.full((SIDE, SIDE, 3), (seed % 200, 255 - seed % 200, 128), np.uint8)

    def _piecewise(self, images, progress):
        kind = type(self)
        kind.working += 1
        kind.most = max(kind.most, kind.working)
        try:
            for piece in range(PIECES):
                time.sleep(self.pause)
                progress((piece + 1) / PIECES, images)
        finally:
            kind.working -= 1
        return images
