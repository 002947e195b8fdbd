"""Captions in, pictures out: a model loaded once, and sampled as often as one likes."""

import numpy as np

from glide_jax import checkpoint, config, editing
from glide_jax.drawing import Order, draw
from glide_jax.fitting import bicubic
from glide_jax.models import text2im
from glide_jax.parallel import default_dtype, local_mesh, replicate
from glide_jax.sampling import Given, Network
from glide_jax.settings import Settings, default_steps, default_strength


class Pipeline:
    """A model ready to sample: a base model draws from captions, an upsampler enlarges.

    Args:
        model: what it is.
        params: its parameters, as `models.text2im.init` shapes them.
        tokenizer: its captions' `text.tokenizer.Tokenizer`.
        dtype: of the matrix products: "auto" (float32 on a CPU, else bfloat16) or a name.
        devices: of this host, which share each batch; all of them by default.

    Attributes:
        params: the parameters, on each device.
    """

    def __init__(self, model: config.Diffusion, params, tokenizer, dtype="auto", devices=None):
        self.model, self.tokenizer = model, tokenizer
        mesh, dtype = local_mesh(devices), default_dtype(dtype)
        self.params = replicate(params, mesh)
        ready = text2im.prepare(model, self.params, dtype, mesh.devices[0].platform)
        self.network = Network(model, ready, dtype, mesh)

    @classmethod
    def load(cls, name_or_folder, dtype="auto"):
        """A shipped model by name, a model folder or a training run; a ValueError if none."""
        model, tokenizer, params = checkpoint.load_model(name_or_folder)
        return cls(model, params, tokenizer, dtype)

    @property
    def dtype(self):
        """That of the matrix products."""
        return self.network.dtype

    def text_to_image(
        self,
        prompts,
        *,
        num=1,
        guidance_scale=3.0,
        guidance_interval=None,
        dynamic_threshold=None,
        negative_prompt="",
        clip=None,
        clip_guidance_scale=3.0,
        sampler="ancestral",
        steps=None,
        eta=0.0,
        seed=0,
        batch_size=16,
        progress=False,
    ):
        """Pictures for captions, `num` for each, those of one caption side by side.

        Args:
            prompts: strings; "" is unconditional.
            num: pictures a prompt; the i-th is drawn from seed + i, at any batch size.
            guidance_scale: 1 is the model's own distribution, more follows the caption closer,
                0 ignores it (classifier-free guidance, GLIDE §2.3).
            guidance_interval: (low, high), the timesteps from 0 to T - 1, both inclusive, at which
                guidance leads, by default all (Kynkäänniemi et al. 2024, arXiv 2404.07724).
            dynamic_threshold: the fraction of a picture's values, above 0 and up to 1, that
                predictions are scaled by, rather than clipped (Imagen, arXiv 2205.11487, §2.3).
            negative_prompt: what guidance leads away from; "" is GLIDE's.
            clip: a `NoisedClip`, which leads to the captions too (GLIDE §2.4). At a guidance_scale
                of 1 it leads alone, and no second branch is computed.
            clip_guidance_scale: how far it leads, 0 is not at all. It leads ddim and dpmpp at the
                first nine tenths of the timesteps only (docs/guidance.md).
            sampler: "ancestral", "ddim" or "dpmpp" (DPM-Solver++ 2M, steps even in log-SNR).
            steps: a number or, but for dpmpp, a form like "fast27"; see `settings.default_steps`.
            eta: DDIM's noise, 0 (none) to 1.
            seed: an int, or one for each prompt.
            batch_size: pictures at a time, rounded up to a multiple of the devices.
            progress: shows a progress bar. Or a function, (fraction, images) -> None, called some
                ten times a batch: how much is done, and the pictures as they stand, uint8
                [n, H, W, 3], those begun so far. What it raises ends the run.

        Returns:
            uint8 [len(prompts) * num, H, W, 3].

        Raises:
            ValueError: names the argument, its value and what is allowed.
        """
        editing.check_base(self.model)
        steps = default_steps(self.model) if steps is None else steps
        settings = Settings(
            *(guidance_scale, guidance_interval, dynamic_threshold, sampler, steps, eta),
            clip_guidance_scale=clip_guidance_scale,
        )
        order = Order(num, seed, batch_size, progress)
        order.check(prompts)
        inputs = editing.nothing_kept(self.model, len(prompts) * num)
        own = self.network, self.tokenizer, prompts, settings, order
        return draw(*own, negative_prompt=negative_prompt, given=Given(inputs), clip=clip)

    inpaint = editing.inpaint
    image_to_image = editing.image_to_image
    edit = editing.edit

    def upsample(
        self,
        images,
        prompts,
        *,
        known=None,
        guidance_scale=1.0,
        negative_prompt="",
        sampler=None,
        steps="fast27",
        eta=0.0,
        strength=None,
        noise_scale=0.997,
        seed=0,
        batch_size=4,
        progress=False,
    ):
        """Pictures enlarged by an upsampler.

        With strength 1 the other defaults are the published second stage's. With less it begins
        from the pictures enlarged by bicubic interpolation and noised, and makes only the steps
        from there on (arXiv 2112.05146): fewer, and colours cannot get lost in pure noise.

        Args:
            images: uint8 [len(prompts) * num, h, h, 3], h the model's low_res_size, those of one
                caption side by side, as `text_to_image` gives them.
            prompts: what they show.
            known: for an upsampler that was trained to inpaint: the large pictures, uint8
                [len(images), H, W, 3], and their masks, bool [len(images), H, W], True = keep.
            sampler: "ddim" by default, and with known pixels "ancestral".
            strength: which part of the noise it begins from, above 0 to 1; by default 0.3 for
                models of up to 64 pixels, else 1, which is noise alone.
            noise_scale: the noise of a start from noise alone is multiplied by it.
            seed: of a prompt's first picture, the i-th is drawn from seed + i; or one a prompt.

        The others are as in `text_to_image`.

        Returns:
            uint8 [len(images), H, W, 3].

        Raises:
            ValueError: names the argument, its value and what is allowed.
        """
        images = self._checked_low_res(images, prompts)
        inputs = editing.nothing_kept(self.model, len(images))
        if known is not None:
            known = editing.known_pixels(known, len(images), self.model)
            inputs = editing.inpaint_inputs(*known)
        settings = self.upsampling_settings(
            known is not None, guidance_scale, sampler, steps, eta, strength, noise_scale
        )
        start = None
        if settings.strength != 1:
            size = (self.model.unet.image_size,) * 2
            start = editing.as_input(np.stack([bicubic(image, *size) for image in images]))
        order = Order(len(images) // len(prompts), seed, batch_size, progress, "upsampling")
        own = self.network, self.tokenizer, prompts, settings, order
        given = Given({"low_res": editing.as_input(images)} | inputs, known, start)
        return draw(*own, negative_prompt=negative_prompt, given=given)

    def upsampling_settings(
        self, keeps, guidance_scale, sampler, steps, eta, strength, noise_scale
    ):
        """The Settings of `upsample`, which it checks; `keeps`: whether there are known pixels."""
        return Settings(
            guidance_scale,
            sampler=sampler or ("ancestral" if keeps else "ddim"),
            steps=steps,
            eta=eta,
            noise_scale=noise_scale,
            inpaint_method="model" if keeps else None,
            strength=default_strength(self.model) if strength is None else strength,
        )

    def _checked_low_res(self, images, prompts):
        side, images = self.model.unet.low_res_size, np.asarray(images)
        if not side:
            raise ValueError("the model is a base model: it is not given a picture to enlarge")
        if images.dtype != np.uint8 or images.shape[1:] != (side, side, 3):
            raise ValueError(
                f"images are {images.dtype} {list(images.shape)}; "
                f"they must be uint8 [N, {side}, {side}, 3]"
            )
        if len(prompts) == 0 or len(images) % len(prompts):
            raise ValueError(f"there are {len(images)} images for {len(prompts)} prompts")
        return images
