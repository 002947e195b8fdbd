"""What networks and the referee see in sets of pictures: what the metrics are computed from."""

import hashlib

from glide_jax.evaluation import features, shapes_test
from glide_jax.evaluation.caption_accuracy import failures
from glide_jax.evaluation.judges import Judges
from glide_jax.evaluation.metrics import clip_score
from glide_jax.evaluation.pictures import BATCH, hash_of, open_pictures, read_batches, read_one
from glide_jax.evaluation.scores import share


def made_of(pictures, loaded, size=None):
    """What networks see in Pictures, and their hash.

    Args:
        pictures: the `pictures.Pictures`.
        loaded: the `judges.Judges`.
        size: to which they are cropped, where the network has no side of its own.

    Returns:
        Arrays by the names that `scoring.score` takes, and 16 digits.

    Raises:
        ValueError: the Pictures are features of another network, or a picture is broken.
    """
    network, judge = loaded
    check_network(pictures, network)
    if pictures.source is None:
        return pictures.ready, hash_of(pictures.ready)
    digest, found = hashlib.sha256(), {}
    side = (network.side if network else None) or size
    batches = read_batches(pictures.source, side, digest)
    if network is not None:
        found |= features.features(batches, network.network)
    else:
        for _ in batches:  # for the hash
            pass
    if judge is not None and pictures.captions:
        found |= {"cosines": _cosines(pictures, judge)}
    return found, digest.hexdigest()[:16]


def referred(path, judge, size=None):
    """As `made_of`, of real pictures or a file of them; and what results say of them.

    Args:
        path: of --reference; with None there are no arrays.
        judge: of features, or None.
        size: see `made_of`.

    Raises:
        ValueError: as `made_of` does.
    """
    if path is None:
        return {}, None
    real = open_pictures(path)
    arrays, content = made_of(real, Judges(judge, None), size)
    return arrays, {"path": str(path), "hash": content, "n": real.number}


def check_network(pictures, judge):
    """Raises a ValueError where Pictures are features that say to be of another network."""
    own = pictures.ready.get("about", {})
    if judge is not None and own.get("features_hash", judge.hash) != judge.hash:
        raise ValueError(
            f"{pictures.path} was made by {own['features']} ({own['features_hash']}), not by "
            f"{judge.name} ({judge.hash}); make it anew by evaluate.py reference"
        )


def check_alike(pictures, real):
    """Raises a ValueError where features of Pictures were not made as those of real ones.

    Args:
        pictures: the `pictures.Pictures`.
        real: arrays, as of `made_of`.
    """
    own, other = (ready.get("about", {}) for ready in (pictures.ready, real))
    for name, what in {"features_hash": "network", "size": "size"}.items():
        if name in own and name in other and own[name] != other[name]:
            raise ValueError(
                f"{pictures.path} has features of the {what} {own[name]}, and --reference those of "
                f"{other[name]}; make both alike by evaluate.py reference"
            )


def _cosines(pictures, judge):
    """The cosine of each picture and its caption."""
    towers, captions = judge.network, pictures.captions
    encoded = (
        towers.tokenizer.encode(captions[i : i + BATCH]) for i in range(0, len(captions), BATCH)
    )
    seen = features.features(read_batches(pictures.source, judge.side), towers.images)["features"]
    return clip_score.cosines(seen, features.features(encoded, towers.texts)["features"])


def accuracy(pictures, size=None):
    """The share of pictures whose caption holds, of those whose caption is one of Shapes' tests.

    They are read at a side of `size` pixels, or at their own; the reasons say what is left out.
    """
    unknown = "no caption is one of those that evaluate.py has of Shapes"
    why = {"caption_accuracy": pictures.uncaptioned or unknown}
    if pictures.source is None or not pictures.captions:
        return {}, why
    claims = {
        item.caption: item.claims
        for split in ("test", "compositional")
        for seed in shapes_test.SEEDS.values()
        for item in shapes_test.items(split, seed=seed)
    }
    captions = pictures.captions
    known = [index for index, caption in enumerate(captions) if caption in claims]
    if not known:
        return {}, why
    good = 0
    for index in known:
        image = read_one(pictures.source, index, size)
        good += not failures(image, claims[captions[index]])
    return {"caption_accuracy": share(good, len(known))}, {}
