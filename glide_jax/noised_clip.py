"""A noised CLIP, loaded once, that guides what pipelines draw."""

from glide_jax import checkpoint, config
from glide_jax.parallel import default_dtype, local_mesh, replicate
from glide_jax.sampling import Network


class NoisedClip:
    """A noised CLIP ready to guide: `Pipeline.text_to_image` takes it as `clip`.

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

    def check_fits(self, network: Network):
        """Raises a ValueError where a model draws what this CLIP cannot judge."""
        clip, model = self.network.model, network.model
        for name, own, other in (
            ("image_size", clip.image.image_size, model.unet.image_size),
            ("schedule", clip.schedule, model.schedule),
            ("timesteps", clip.timesteps, model.timesteps),
        ):
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


def _names(network):
    return ", ".join(map(str, network.mesh.devices.flat))
