"""Small parameters joined to long vectors, so that a step handles a few leaves, not hundreds.

What optimizer, norms and moving averages do to each leaf is compiled for each; of a small model
that was most of the time to compile a step.
"""

import jax
import jax.numpy as jnp

from glide_jax.training.paths import path_names

# Elements of the largest leaf that is joined: what is larger is worth its own program, and its own
# place among sharded devices.
SMALL = 2**16


def pack(tree, labels):
    """The leaves by path, but those with a label joined: one vector for each label.

    Args:
        tree: arrays.
        labels: the same tree, of strings: "" for a leaf that stays as it is. Or None: the tree is
            returned as it is.
    """
    if labels is None:
        return tree
    packed, joined = {}, {}
    for name, label, leaf in _each(labels, tree):
        if label:
            joined.setdefault(label, []).append(leaf.reshape(-1))
        else:
            packed[name] = leaf
    return packed | {label: jnp.concatenate(parts) for label, parts in joined.items()}


def unpack(packed, labels, like):
    """What `pack` was given; `like` is a tree of the same shapes."""
    if labels is None:
        return packed
    starts, leaves = dict.fromkeys(packed, 0), []
    for name, label, leaf in _each(labels, like):
        if label:
            start = starts[label]
            starts[label] = start + leaf.size
            leaves.append(packed[label][start : starts[label]].reshape(leaf.shape))
        else:
            leaves.append(packed[name])
    return jax.tree.unflatten(jax.tree.structure(like), leaves)


def _each(labels, tree):
    return zip(*map(jax.tree.leaves, (path_names(tree), labels, tree)), strict=True)
