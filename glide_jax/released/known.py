"""The published models, known by their parameters' names and shapes."""

import dataclasses
import hashlib
from dataclasses import dataclass
from typing import Literal

TIMESTEPS = 1000


@dataclass(frozen=True)
class Untold:
    """What the shapes of a model's parameters do not tell; None where nothing else does either."""

    image_size: int | None = None
    """Side of the pictures, in pixels."""
    low_res_size: int | None = None
    """Of an upsampler: side of the small picture that it is given."""
    head_channels: int | None = None
    """Width of a head of the UNet's attention, or of that of CLIP's image tower."""
    text_heads: int | None = None
    """Heads of the text encoder, or of CLIP's text tower."""
    schedule: Literal["linear", "squaredcos_cap_v2"] | None = None
    """Of the noise."""

    def over(self, other):
        """These values, and the other's where there is none here."""
        own = {name: value for name, value in dataclasses.asdict(self).items() if value is not None}
        return dataclasses.replace(other, **own)


NOTHING = Untold()
_BASE = Untold(64, None, 64, 8, "squaredcos_cap_v2")
_UPSAMPLE = Untold(256, 64, 64, 8, "linear")
# By `digest`: base, base-inpaint, upsample, upsample-inpaint, CLIP's image and text tower.
KNOWN = {
    "27bd9877ac4e1e4c": _BASE,
    "88404bee15c70e2a": _BASE,
    "3c21983225b145ea": _UPSAMPLE,
    "81b845c8cbff20c0": _UPSAMPLE,
    "9c5520480cc9e361": Untold(head_channels=64, schedule="squaredcos_cap_v2"),
    "b1788cb597d8b989": Untold(text_heads=8),
}


def digest(shapes):
    """What {name: shape} is, in any order, as 16 hexadecimal digits."""
    lines = sorted(f"{name} {','.join(map(str, shape))}" for name, shape in shapes.items())
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def recall(shapes):
    """What is known of a model with these {name: shape}: nothing, unless it is a published one."""
    return KNOWN.get(digest(shapes), NOTHING)
