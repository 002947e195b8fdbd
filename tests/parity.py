"""Where those published figures are that are too big for a fixture: beside the repository."""

import os
import pathlib

from glide_jax.released.parity.drawing import tensor

__all__ = ["FOLDER", "ROOT", "tensor"]

ROOT = pathlib.Path(__file__).parents[1]
FOLDER = pathlib.Path(os.environ.get("GLIDE_JAX_PARITY", ROOT.parent / "shared" / "parity"))
