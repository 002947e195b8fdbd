"""Features of pictures and of captions, for the metrics: batch by batch, over all local devices."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from glide_jax.checkpoint import load_model
from glide_jax.images import scaled
from glide_jax.models import classifier, clip, inception
from glide_jax.parallel import local_mesh, over_rows, replicate, spread
from glide_jax.released import inception as released


class Network(NamedTuple):
    """What makes features; `make_network` makes one of any function."""

    program: Callable  # (params, rows) -> rows by name, compiled for the devices
    params: Any  # on each device
    mesh: Mesh


class ClipNetworks(NamedTuple):
    """The towers of a CLIP, and the `text.tokenizer.Tokenizer` of its captions."""

    images: Network
    texts: Network
    tokenizer: Any


def features(batches, network: Network) -> dict:
    """The features of all rows of all batches, in their order.

    Each batch is spread over the devices. Where it does not fill them, or is smaller than those
    before it, rows are repeated and what becomes of them is left out: each row counts once.

    Args:
        batches: an iterable of pictures, uint8 [B, H, W, 3]; for the texts of a CLIP of its
            tokenizer's (tokens, mask). B may differ; the same one is compiled once.
        network: from one of the functions below.

    Returns:
        float32 arrays [N, ...] by name: `features`, and of classifiers `logits`.

    Raises:
        ValueError: there is no row, or pictures are not uint8, or not of the network's size.
    """
    parts = list(by_batch(batches, network))
    if not parts:
        raise ValueError("there are no pictures or captions to make features of; give one or more")
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def by_batch(batches, network: Network):
    """As `features`, yielding each batch's: their Statistics are joined without holding all."""
    devices, room = network.mesh.size, 0
    for batch in batches:
        number = _check_rows(batch)
        if not number:
            continue
        room = max(room, -(-number // devices) * devices)
        filled = jax.tree.map(lambda rows: np.resize(rows, (room, *rows.shape[1:])), batch)  # noqa: B023
        made = network.program(network.params, spread(filled, network.mesh))
        yield {name: np.asarray(rows)[:number] for name, rows in made.items()}


def _check_rows(batch):
    """How many rows a batch has; a ValueError where it is of pictures that are not uint8."""
    if isinstance(batch, tuple):
        return len(batch[0])
    if batch.dtype != np.uint8 or batch.ndim != 4 or batch.shape[-1] != 3:
        raise ValueError(
            f"pictures are {batch.dtype} {batch.shape}; give uint8 [B, H, W, 3], 0 to 255"
        )
    return len(batch)


def make_network(apply, params, devices=None) -> Network:
    """A Network of a function.

    Args:
        apply: (params, rows) -> {name: rows}, each row of it of that row alone.
        params: a tree of arrays.
        devices: of this host; all of them by default.
    """
    mesh = local_mesh(devices)
    return Network(jax.jit(over_rows(apply, mesh)), replicate(params, mesh), mesh)


def inception_network(path, devices=None) -> Network:
    """FID's Inception with the weights of a file, see `released.inception`: features and logits."""
    return make_network(inception.apply, released.load(path), devices)


def classifier_network(name_or_folder, devices=None) -> Network:
    """A classifier of Shapes: its features, and the logits of the leftmost object's kind."""
    model, _, params = load_model(name_or_folder, kind="classifier")

    def apply(params, image):
        found, logits = classifier.apply(model, params, scaled(image))
        return {"features": found, "logits": logits[:, 0]}

    return make_network(apply, params, devices)


def clip_networks(name_or_folder, devices=None) -> ClipNetworks:
    """A CLIP: the embeddings of pictures, which a noised one takes for those of timestep 0."""
    model, tokenizer, params = load_model(name_or_folder, kind="clip")

    def of_images(params, image):
        t = jnp.zeros(len(image), jnp.int32)
        return {"features": clip.image_embedding(model, params, scaled(image), t)}

    def of_texts(params, encoded):
        return {"features": clip.text_embedding(model, params, *encoded)}

    networks = (make_network(apply, params, devices) for apply in (of_images, of_texts))
    return ClipNetworks(*networks, tokenizer)
