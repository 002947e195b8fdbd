"""The networks that judge pictures, by the names that evaluate.py takes."""

import hashlib
from pathlib import Path
from typing import NamedTuple

from glide_jax.checkpoint import load_model
from glide_jax.evaluation import features
from glide_jax.model_folder import model_hash, pretrained_names

NONE = "none"
FEATURES, JUDGE = "shapes-features", "shapes-clip-eval"  # where they ship


class Judge(NamedTuple):
    """A network and what it is: `side` is that of its pictures, None where it takes any."""

    name: str
    hash: str
    side: int | None
    network: features.Network | features.ClipNetworks

    def told(self):
        """What results say of it."""
        return {"name": self.name, "hash": self.hash}


class Judges(NamedTuple):
    """The Judge of features and the CLIP that judges; None for each that there is not."""

    features: Judge | None
    judge: Judge | None

    def told(self):
        """What results say of them."""
        return {name: each.told() for name, each in self._asdict().items() if each is not None}


def load(arguments, fits) -> Judges:
    """The Judges that `options.Scoring` names; by default those that ship, where they fit.

    Args:
        arguments: the options.
        fits: whether the pictures have a side, in pixels.
    """
    return Judges(load_features(arguments.features, fits), load_judge(arguments.judge, fits))


def load_features(name, fits):
    """The Judge of --features; None where there is none."""
    return _load(name, FEATURES, fits, _of_features)


def load_judge(name, fits):
    """The Judge of --judge, a CLIP; None where there is none."""
    return _load(name, JUDGE, fits, _of_clip)


def check_size(judge, size):
    """Raises a ValueError where --size is another side than that of the network of features."""
    if judge is not None and size is not None and judge.side not in (None, size):
        raise ValueError(
            f"--size is {size}, but {judge.name} takes pictures of {judge.side} pixels: leave it "
            "out, or name another network by --features"
        )


def _load(name, shipped, fits, make):
    """What a name makes; of None the shipped one, if it is there and takes the pictures' side."""
    if name is None and shipped in pretrained_names():
        found = make(shipped)
        return found if fits(found.side) else None
    return None if name in (None, NONE) else make(name)


def _of_features(name):
    if Path(name).suffix in (".pth", ".pt", ".safetensors"):
        content = hashlib.sha256(Path(name).read_bytes()).hexdigest()[:16]
        return Judge(Path(name).name, content, None, features.inception_network(name))
    return _of_model(name, "classifier", features.classifier_network)


def _of_clip(name):
    return _of_model(name, "clip", features.clip_networks)


def _of_model(name, kind, make):
    model, tokenizer, params = load_model(name, kind=kind)
    own = model_hash(model, tokenizer, params)
    return Judge(str(name), own, model.image_size, make(name))
