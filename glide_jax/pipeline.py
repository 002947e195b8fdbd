"""Captions in, pictures out: a model loaded once, and sampled as often as one likes."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from glide_jax import checkpoint, config
from glide_jax.diffusion import samplers, steppers
from glide_jax.diffusion.guidance import classifier_free
from glide_jax.diffusion.respacing import log_snr_timesteps, spaced_timesteps
from glide_jax.diffusion.schedule import make_schedule, respace
from glide_jax.diffusion.trajectory import reverse_trajectory, steps_between
from glide_jax.images import to_uint8
from glide_jax.models import text2im
from glide_jax.parallel import default_dtype

SAMPLERS = ("ancestral", "ddim", "dpmpp")


class Pipeline:
    """A text-to-image model ready to sample.

    Args:
        model: what it is.
        params: its parameters, as `models.text2im.init` shapes them.
        tokenizer: its captions' `text.tokenizer.Tokenizer`.
        dtype: of the matrix products: "auto" (float32 on a CPU, else bfloat16) or a name.
    """

    def __init__(self, model: config.Diffusion, params, tokenizer, dtype="auto"):
        self.model, self.params, self.tokenizer = model, params, tokenizer
        self.dtype = default_dtype(dtype)
        self.schedule = make_schedule(model.schedule, model.timesteps)

    @classmethod
    def load(cls, name_or_folder, dtype="auto"):
        """A shipped model by name, a model folder or a training run; a ValueError if none."""
        model, tokenizer, params = checkpoint.load_model(name_or_folder)
        return cls(model, params, tokenizer, dtype)

    def text_to_image(
        self,
        prompts,
        *,
        num=1,
        guidance_scale=3.0,
        negative_prompt="",
        sampler="ddim",
        steps=50,
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
            negative_prompt: what guidance leads away from; "" is GLIDE's.
            sampler: "ancestral", "ddim" or "dpmpp" (DPM-Solver++ 2M, steps even in log-SNR).
            steps: a number, or for ancestral and ddim a published form such as "fast27".
            eta: DDIM's noise, 0 (none) to 1.
            batch_size: pictures at a time.
            progress: shows a progress bar.

        Returns:
            uint8 [len(prompts) * num, H, W, 3].

        Raises:
            ValueError: names the argument, its value and what is allowed.
        """
        prompts = list(prompts)
        _check(prompts, num, guidance_scale, sampler, eta, seed, batch_size)
        trajectory = self._trajectory(sampler, steps)
        captions = [prompt for prompt in prompts for _ in range(num)]
        seeds = np.tile(np.arange(seed, seed + num), len(prompts))
        size = min(batch_size, len(captions))
        # The last batch is filled up, so that there is one program to compile.
        order = np.resize(np.arange(len(captions)), -(-len(captions) // size) * size)
        pieces = _pieces(len(trajectory.t))
        images = []
        with tqdm(
            total=len(order) * len(trajectory.t),
            desc="sampling",
            unit="step",
            disable=not progress,
        ) as bar:
            for rows in order.reshape(-1, size):
                x = self._sample_batch(
                    [captions[row] for row in rows],
                    seeds[rows],
                    [steps_between(trajectory, *piece) for piece in pieces],
                    (guidance_scale, negative_prompt, sampler, eta),
                    bar,
                )
                images.append(to_uint8(x))
        return np.concatenate(images)[: len(captions)]

    def _trajectory(self, sampler, steps):
        if sampler == "dpmpp":
            if not str(steps).isdecimal():
                raise ValueError(f"steps is {steps!r}; for dpmpp it must be a number")
            timesteps = log_snr_timesteps(self.schedule, int(steps))
        else:
            timesteps = spaced_timesteps(self.model.timesteps, steps)
        return reverse_trajectory(respace(self.schedule, timesteps))

    def _sample_batch(self, captions, seeds, pieces, settings, bar):
        guidance_scale, negative_prompt, sampler, eta = settings
        cond = self._encode(captions)
        guided = guidance_scale != 1
        if guided:
            cond = cond, self._encode([negative_prompt] * len(captions))
        keys = jax.vmap(jax.random.key)(jnp.asarray(seeds, jnp.uint32))
        carry = _start(self.model, sampler, keys)
        for piece in pieces:
            carry = _run(
                self.model,
                self.dtype,
                sampler,
                guided,
                self.params,
                cond,
                jnp.float32(guidance_scale),
                jnp.float32(eta) if sampler == "ddim" and eta else None,
                carry,
                keys,
                piece,
            )
            jax.block_until_ready(carry)
            bar.update(len(piece.t) * len(captions))
        return carry.x

    def _encode(self, captions):
        tokens, mask = self.tokenizer.encode(captions)
        return _encode(self.model, self.dtype, self.params, tokens, mask)


@partial(jax.jit, static_argnums=(0, 1))
def _encode(model, dtype, params, tokens, mask):
    return text2im.encode_text(model, params, tokens, mask, dtype=dtype)


@partial(jax.jit, static_argnums=(0, 1))
def _start(model, sampler, keys):
    side = model.unet.image_size
    # The steps fold in 0, 1, ...: the start takes a number that no step has.
    x_T = samplers.normal(samplers.fold_in(keys, model.timesteps), (side, side, 3))
    return samplers.init_carry(x_T, _stepper(sampler))


@partial(jax.jit, static_argnums=(0, 1, 2, 3), donate_argnums=(8,))
def _run(model, dtype, sampler, guided, params, cond, scale, eta, carry, keys, trajectory):
    denoise = partial(text2im.denoise, model, params, dtype=dtype)
    if guided:
        denoise = classifier_free(denoise, scale)

    def bound(x, t):
        return denoise(x, t, cond)

    carry, _ = samplers.run_segment(bound, carry, keys, trajectory, _stepper(sampler, eta))
    return carry


def _stepper(sampler, eta=None):
    if sampler == "ddim":
        return steppers.ddim(0.0 if eta is None else eta)
    return {"ancestral": steppers.ancestral, "dpmpp": steppers.dpm_solver_pp_2m}[sampler]()


def _pieces(steps, most=12):
    """(start, stop) of about ten equal pieces of a run, so that progress shows between them."""
    lengths = [n for n in range(1, steps + 1) if steps % n == 0 and steps / n <= most]
    length = min(lengths) if steps / min(lengths) > most / 3 else -(-steps // most)
    return [(start, min(start + length, steps)) for start in range(0, steps, length)]


def _check(prompts, num, guidance_scale, sampler, eta, seed, batch_size):
    if not prompts:
        raise ValueError('there is no prompt; give at least one ("" is unconditional)')
    for name, value, least in (("num", num, 1), ("seed", seed, 0), ("batch_size", batch_size, 1)):
        if value < least:
            raise ValueError(f"{name} is {value}; it must be {least} or more")
    if seed + num > 2**32:
        raise ValueError(f"seed is {seed}; seed + num must be at most {2**32}")
    if not np.isfinite(guidance_scale):
        raise ValueError(f"guidance_scale is {guidance_scale}; it must be a finite number")
    if sampler not in SAMPLERS:
        raise ValueError(f"sampler is {sampler!r}; it must be one of {', '.join(SAMPLERS)}")
    if not 0 <= eta <= 1:
        raise ValueError(f"eta is {eta}; it must be from 0 to 1")
