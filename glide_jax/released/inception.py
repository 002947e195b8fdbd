"""The weights of FID's Inception network, which everyone fetches for themselves, from their file.

The file is pt_inception-2015-12-05-6726825d.pth, of the projects pytorch-fid and torch-fidelity.
"""

import jax
import numpy as np

from glide_jax.models import inception
from glide_jax.released import torch_file
from glide_jax.released.names import fill

LEAVES = {
    "conv.weight": "kernel",
    "bn.weight": "scale",
    "bn.bias": "bias",
    "bn.running_mean": "mean",
    "bn.running_var": "var",
    "weight": "kernel",  # of the head
    "bias": "bias",
}
UNUSED = "num_batches_tracked"  # of training


def load(path):
    """The float32 parameters of `models.inception` from a PyTorch or a safetensors file.

    Raises:
        OSError: the file cannot be opened.
        ValueError: it cannot be read, or holds no such network.
    """
    state_dict = torch_file.unwrap(torch_file.read(path))
    target = jax.eval_shape(inception.init, jax.random.key(0))
    try:
        params = from_pytorch(state_dict, target)
    except ValueError as error:
        raise ValueError(
            f"{path} is not FID's Inception (pt_inception-2015-12-05-6726825d.pth): {error}"
        ) from None
    return jax.tree.map(lambda leaf: np.asarray(leaf, np.float32), params)


def our_name(name):
    """The path of our leaf: Mixed_5b.branch1x1.bn.weight is Mixed_5b/branch1x1/scale."""
    for theirs, ours in LEAVES.items():
        if name.endswith(f".{theirs}"):
            return f"{name.removesuffix(theirs).replace('.', '/')}{ours}"
    return None


def from_pytorch(state_dict, target):
    """The port's state dict as our tree; see `names.from_pytorch`."""
    used = {name: array for name, array in state_dict.items() if not name.endswith(UNUSED)}
    return fill({name: our_name(name) for name in used}, used, target)
