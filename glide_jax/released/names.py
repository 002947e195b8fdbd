"""The published models' parameter names and layouts, as a table, and the conversion by it."""

import re

import jax
import numpy as np

# (PyTorch module, our module), tried in this order; {i} stands for a number, kept as it is.
MODULES = (
    ("transformer.resblocks.{i}.attn.c_qkv", "text_encoder/blocks_{i}/qkv"),
    ("transformer.resblocks.{i}.attn.c_proj", "text_encoder/blocks_{i}/attn_out"),
    ("transformer.resblocks.{i}.ln_1", "text_encoder/blocks_{i}/attn_norm"),
    ("transformer.resblocks.{i}.ln_2", "text_encoder/blocks_{i}/mlp_norm"),
    ("transformer.resblocks.{i}.mlp.c_fc", "text_encoder/blocks_{i}/mlp_in"),
    ("transformer.resblocks.{i}.mlp.c_proj", "text_encoder/blocks_{i}/mlp_out"),
    ("final_ln", "text_encoder/final_norm"),
    ("transformer_proj", "text_encoder/project"),
    ("time_embed.0", "unet/time_embed_0"),
    ("time_embed.2", "unet/time_embed_1"),
    ("input_blocks.{i}.{i}", "unet/input_blocks_{i}_{i}"),
    ("middle_block.{i}", "unet/middle_block_{i}"),
    ("output_blocks.{i}.{i}", "unet/output_blocks_{i}_{i}"),
    ("out.0", "unet/out_norm"),
    ("out.2", "unet/out_conv"),
    # Of CLIP, whose towers are published one by one.
    ("blocks.input.ln", "in_norm"),
    ("blocks.block_{i}.f_attn.ln", "blocks_{i}/attn_norm"),
    ("blocks.block_{i}.f_attn.f_q", "blocks_{i}/query"),
    ("blocks.block_{i}.f_attn.f_k", "blocks_{i}/key"),
    ("blocks.block_{i}.f_attn.f_v", "blocks_{i}/value"),
    ("blocks.block_{i}.f_attn.f_c", "blocks_{i}/attn_out"),
    ("blocks.block_{i}.f_mlp.ln", "blocks_{i}/mlp_norm"),
    ("blocks.block_{i}.f_mlp.f_1", "blocks_{i}/mlp_in"),
    ("blocks.block_{i}.f_mlp.f_2", "blocks_{i}/mlp_out"),
    ("blocks.output.ln", "final_norm"),
    ("blocks.output.f", "project"),
)
# Within a block of the UNet.
LAYERS = {
    "": "",
    ".in_layers.0": "/in_norm",
    ".in_layers.2": "/in_conv",
    ".emb_layers.1": "/emb",
    ".out_layers.0": "/out_norm",
    ".out_layers.3": "/out_conv",
    ".skip_connection": "/skip",
    ".norm": "/norm",
    ".qkv": "/qkv",
    ".encoder_kv": "/text_kv",
    ".proj_out": "/out",
}
TABLES = {
    "token_embedding.weight": "text_encoder/token_embedding",
    "positional_embedding": "text_encoder/positional_embedding",
    "padding_embedding": "text_encoder/padding_embedding",
    "blocks.input.w_t": "timestep_embedding",
    "blocks.input.w_pos": "positional_embedding",
    "blocks.input.w_voc": "token_embedding",
    "blocks.input.patch_proj": "patches/kernel",
}
CLIP_LEAVES = {"w": "kernel", "g": "scale", "b": "bias"}
CLIP_LOGIT_SCALE = 100.0


def our_name(name, ndim):
    """The path of our leaf for a PyTorch parameter's name and number of axes, or None."""
    if name in TABLES:
        return TABLES[name]
    module, _, leaf = name.rpartition(".")
    leaf = {"weight": "scale" if ndim == 1 else "kernel", "bias": "bias", **CLIP_LEAVES}.get(leaf)
    for theirs, ours in MODULES:
        pattern = re.escape(theirs).replace(r"\{i\}", r"(\d+)")
        match = re.match(pattern + r"(?=\.|$)", module)
        if match and module[match.end() :] in LAYERS and leaf:
            for number in match.groups():
                ours = ours.replace("{i}", number, 1)
            return f"{ours}{LAYERS[module[match.end() :]]}/{leaf}"
    return None


def our_layout(name, array):
    """A PyTorch array in our layout: kernels lead with their inputs, tables and vectors stay.

    Dense [out, in] and 1-wide convolutions [out, in, 1] become [in, out], or [1, 1, in, out] where
    our layer is a convolution; [out, in, height, width] becomes [height, width, in, out].
    """
    if not name.endswith("/kernel"):
        return array
    if array.ndim == 3:
        array = array[..., 0]
    return np.transpose(array, (2, 3, 1, 0) if array.ndim == 4 else (1, 0))


def from_pytorch(state_dict, target):
    """A published model's state dict as our tree of parameters.

    Args:
        state_dict: {PyTorch name: array}.
        target: the tree of arrays or shapes to fill, as `text2im.init` makes it.

    Raises:
        ValueError: names the entries that were not used and the leaves that were not filled, or
            those of another shape.
    """
    named = {name: our_name(name, np.ndim(array)) for name, array in state_dict.items()}
    return fill(named, state_dict, target)


def fill(named, state_dict, target):
    """As `from_pytorch`, of names found before: {PyTorch name: path of our leaf, or None}."""
    paths, structure = jax.tree_util.tree_flatten_with_path(target)
    leaves = {"/".join(key.key for key in path): leaf for path, leaf in paths}
    unused = sorted(name for name, ours in named.items() if ours not in leaves)
    unfilled = sorted(set(leaves) - set(named.values()))
    if unused or unfilled:
        raise ValueError(
            f"the weights do not fit the model: not used: {unused}; not filled: {unfilled}"
        )
    filled = {ours: our_layout(ours, state_dict[name]) for name, ours in named.items()}
    wrong = sorted(name for name in leaves if filled[name].shape != leaves[name].shape)
    if wrong:
        shapes = [f"{name} {filled[name].shape}, not {leaves[name].shape}" for name in wrong]
        raise ValueError(f"the weights do not fit the model: {'; '.join(shapes)}")
    return jax.tree.unflatten(structure, [filled[name] for name in leaves])


def clip_from_pytorch(image, text, target):
    """The noised CLIP's two published state dicts as our tree of parameters.

    The logit scale is in neither: the published code has it as a constant.

    Args:
        image, text: {PyTorch name: array} of clip_image_enc.pt and of clip_text_enc.pt.
        target: the tree of arrays or shapes to fill, as `clip.init` makes it.

    Raises:
        ValueError: as `from_pytorch`.
    """
    return {
        "image": from_pytorch(image, target["image"]),
        "text": from_pytorch(text, target["text"]),
        "logit_scale": np.log(np.float32(CLIP_LOGIT_SCALE)),
    }


# Dense layers of ours that the published models have as 1-wide convolutions.
WIDE_1 = re.compile(r"unet/.*/(qkv|text_kv|out)/kernel")


def their_name(path):
    """The PyTorch name of a leaf of ours, given as its path; the inverse of `our_name`."""
    tables = {ours: theirs for theirs, ours in TABLES.items()}
    if path in tables:
        return tables[path]
    module, _, leaf = path.rpartition("/")
    layers = {ours: theirs for theirs, ours in LAYERS.items()}
    for theirs, ours in MODULES:
        match = re.match(ours.replace("{i}", r"(\d+)") + r"(?=/|$)", module)
        if match and module[match.end() :] in layers:
            for number in match.groups():
                theirs = theirs.replace("{i}", number, 1)
            leaf = _their_leaf(leaf, of_clip=theirs.startswith("blocks."))
            return f"{theirs}{layers[module[match.end() :]]}.{leaf}"
    raise ValueError(f"the published models have no parameter for {path}")


def _their_leaf(leaf, of_clip):
    if of_clip:
        return {ours: theirs for theirs, ours in CLIP_LEAVES.items()}[leaf]
    return "bias" if leaf == "bias" else "weight"


def their_layout(path, array):
    """An array of ours in PyTorch's layout: the inverse of `our_layout`."""
    if not path.endswith("/kernel"):
        return array
    array = np.transpose(array, (3, 2, 0, 1) if array.ndim == 4 else (1, 0))
    return array[..., None] if WIDE_1.fullmatch(path) else array


def to_pytorch(params):
    """Our tree of parameters as a published model's state dict; the inverse of `from_pytorch`.

    Args:
        params: the tree, as `text2im.init` makes it, or one tower's of `clip.init`.

    Returns:
        {PyTorch name: array}, each a view where the array is numpy's.

    Raises:
        ValueError: names a leaf that the published models have no parameter for.
    """
    leaves, _ = jax.tree_util.tree_flatten_with_path(params)
    paths = ["/".join(key.key for key in keys) for keys, _ in leaves]
    arrays = [np.asarray(leaf) for _, leaf in leaves]
    return {
        their_name(path): their_layout(path, array)
        for path, array in zip(paths, arrays, strict=True)
    }
