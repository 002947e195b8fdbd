"""A CLIP, loaded once, that guides what pipelines draw and tells what fits its caption best."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from glide_jax import checkpoint, config
from glide_jax.fitting import fit, to_model
from glide_jax.models import clip
from glide_jax.parallel import default_dtype, local_mesh, over_rows, replicate, spread
from glide_jax.sampling import Network


class NoisedClip:
    """A CLIP ready to guide: the methods of `Pipeline` take it as `clip`; `rerank` takes it, too.

    A noised one is made for it. An ordinary one, of clean pictures, takes noised ones for clean
    ones, which is what GLIDE compares it with (§2.4).

    Args:
        model: what it is.
        params: its parameters, as `models.clip.init` shapes them.
        tokenizer: its captions' `text.tokenizer.Tokenizer`.
        dtype: of the matrix products: "auto" (float32 on a CPU, else bfloat16) or a name.
        devices: of this host: those of the pipeline that it guides; all of them by default.
    """

    def __init__(self, model: config.Clip, params, tokenizer, dtype="auto", devices=None):
        self.tokenizer = tokenizer
        mesh = local_mesh(devices)
        self.network = Network(model, replicate(params, mesh), default_dtype(dtype), mesh)

    @classmethod
    def load(cls, name_or_folder, dtype="auto"):
        """A CLIP from its model folder; a ValueError if there is none."""
        model, tokenizer, params = checkpoint.load_model(name_or_folder, kind="clip")
        return cls(model, params, tokenizer, dtype)

    def scores(self, images, prompts):
        """How well clean pictures fit their captions: the cosines of their embeddings.

        Args:
            images: squares, uint8 [side, side, 3], of any sizes, which are brought to this CLIP's;
                as many for each prompt, those of one side by side. All are judged at a time.
            prompts: strings.

        Returns:
            float32 [len(images)], from -1 to 1.

        Source: arXiv 2104.08718, equation 1, without its factor and without cutting off below 0.
        """
        model, params, dtype, mesh = self.network
        fitted = [to_model(i, fit(i.shape[:2], model.image_size, "crop")) for i in images]
        # Rows are repeated until each device has as many.
        rows = np.resize(np.arange(len(images)), -(-len(images) // mesh.size) * mesh.size)
        x = np.float32(fitted)[rows] / 127.5 - 1
        which = rows // (len(images) // len(prompts))
        captions = [leaf[which] for leaf in self.tokenizer.encode(list(prompts))]
        own = {"model": model, "dtype": dtype, "mesh": mesh}
        return np.asarray(_cosines(params, spread((x, *captions), mesh), **own))[: len(images)]

    def check_fits(self, network: Network):
        """Raises a ValueError where a model draws what this CLIP cannot judge."""
        clip, model = self.network.model, network.model
        pairs = [("image_size", clip.image.image_size, model.unet.image_size)]
        if clip.timesteps:  # an ordinary CLIP knows no noise that could be another one
            pairs.append(("schedule", clip.schedule, model.schedule))
            pairs.append(("timesteps", clip.timesteps, model.timesteps))
        for name, own, other in pairs:
            if own != other:
                raise ValueError(
                    f"the CLIP's {name} is {own!r}, the model's {other!r}: choose a CLIP that was "
                    "made for the model"
                )
        if self.network.mesh != network.mesh:
            raise ValueError(
                f"the CLIP is on {_names(self.network)}, the model on {_names(network)}: give both "
                "the same devices"
            )


@partial(jax.jit, static_argnames=("model", "dtype", "mesh"))
def _cosines(params, rows, *, model, dtype, mesh):
    def cosines(params, rows):
        x, *captions = rows
        t = jnp.zeros(len(x), jnp.int32)
        image = clip.image_embedding(model, params, x, t, dtype=dtype)
        text = clip.text_embedding(model, params, *captions, dtype=dtype)
        return jnp.sum(clip.unit(image) * clip.unit(text), axis=-1)

    return over_rows(cosines, mesh)(params, rows)


def _names(network):
    return ", ".join(map(str, network.mesh.devices.flat))
