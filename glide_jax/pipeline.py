"""Captions in, pictures out: a model loaded once, and sampled as often as one likes."""

from functools import partial
from itertools import groupby, pairwise
from typing import NamedTuple

import jax
import numpy as np
from tqdm import tqdm

from glide_jax import checkpoint, config
from glide_jax.diffusion import samplers, steppers
from glide_jax.diffusion.guidance import classifier_free
from glide_jax.diffusion.respacing import log_snr_timesteps, spaced_timesteps
from glide_jax.diffusion.schedule import make_schedule, respace
from glide_jax.diffusion.thresholding import dynamic_threshold
from glide_jax.diffusion.trajectory import reverse_trajectory, steps_between
from glide_jax.images import to_uint8
from glide_jax.models import text2im
from glide_jax.parallel import default_dtype, local_mesh, over_rows, replicate, spread

SAMPLERS = ("ancestral", "ddim", "dpmpp")


class Pipeline:
    """A text-to-image model ready to sample.

    Args:
        model: what it is.
        params: its parameters, as `models.text2im.init` shapes them.
        tokenizer: its captions' `text.tokenizer.Tokenizer`.
        dtype: of the matrix products: "auto" (float32 on a CPU, else bfloat16) or a name.
        devices: of this host, which share each batch; all of them by default.
    """

    def __init__(self, model: config.Diffusion, params, tokenizer, dtype="auto", devices=None):
        if model.unet.inpaint or model.unet.low_res_size:
            raise ValueError("the model is given another picture; only base models can be sampled")
        self.model, self.tokenizer = model, tokenizer
        self.mesh = local_mesh(devices)
        self.params = replicate(params, self.mesh)
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
        guidance_interval=None,
        dynamic_threshold=None,
        negative_prompt="",
        sampler="ancestral",
        steps=100,
        eta=0.0,
        seed=0,
        batch_size=16,
        progress=False,
    ):
        """Pictures for captions, `num` for each, those of one caption side by side.

        Args:
            prompts: strings; "" is unconditional.
            num: pictures a prompt; the i-th is drawn from seed + i, at any batch size.
            seed: an int, or one for each prompt.
            guidance_scale: 1 is the model's own distribution, more follows the caption closer,
                0 ignores it (classifier-free guidance, GLIDE §2.3).
            guidance_interval: (low, high), the timesteps, of 0 to T - 1 and inclusive, at which
                guidance leads; at others the captioned branch is computed alone. By default all
                (Kynkäänniemi et al. 2024, arXiv 2404.07724).
            dynamic_threshold: the fraction of a picture's values, above 0 and up to 1, that
                predictions are scaled by, rather than clipped (Imagen, arXiv 2205.11487, §2.3).
            negative_prompt: what guidance leads away from; "" is GLIDE's.
            sampler: "ancestral" (as GLIDE's base model was published), "ddim" or "dpmpp"
                (DPM-Solver++ 2M, steps even in log-SNR).
            steps: a number, or for ancestral and ddim a published form such as "fast27".
            eta: DDIM's noise, 0 (none) to 1.
            batch_size: pictures at a time, rounded up to a multiple of the devices.
            progress: shows a progress bar.

        Returns:
            uint8 [len(prompts) * num, H, W, 3].

        Raises:
            ValueError: names the argument, its value and what is allowed.
        """
        if isinstance(prompts, str):
            raise ValueError(f"prompts is the string {prompts!r}; it must be a list of strings")
        prompts = list(prompts)
        settings = Settings(guidance_scale, guidance_interval, dynamic_threshold, sampler, eta)
        _check(prompts, num, settings, seed, batch_size)
        trajectory = self._trajectory(sampler, steps)
        captions, negative = (self.tokenizer.encode(c) for c in (prompts, [negative_prompt]))
        total, seeds = len(prompts) * num, np.broadcast_to(seed, len(prompts))
        devices = self.mesh.size
        size = -(-min(batch_size, total) // devices) * devices
        # The last batch is filled up, so that there is one program to compile.
        order = np.resize(np.arange(total), (-(-total // size), size))
        work = order.size * len(trajectory.t)
        images = []
        with tqdm(total=work, desc="sampling", unit="step", disable=not progress) as bar:
            for rows in order:
                own = [leaf[rows // num] for leaf in captions]
                other = [np.repeat(leaf, size, axis=0) for leaf in negative]
                own_seeds = seeds[rows // num] + rows % num
                images.append(self._sample(own, other, own_seeds, trajectory, settings, bar))
        return to_uint8(np.concatenate(images)[:total])

    def _trajectory(self, sampler, steps):
        if sampler == "dpmpp":
            if not str(steps).isdecimal():
                raise ValueError(f"steps is {steps!r}; for dpmpp it must be a number")
            timesteps = log_snr_timesteps(self.schedule, int(steps))
        else:
            timesteps = spaced_timesteps(self.model.timesteps, steps)
        return reverse_trajectory(respace(self.schedule, timesteps))

    def _sample(self, captions, negative, seeds, trajectory, settings, bar):
        """One batch, float [B, H, W, 3] in [-1, 1]; both captions are tokens and mask [B, ctx]."""
        plan = _plan([settings.guides_at(t) for t in trajectory.t])
        alone = self._encode(captions)
        pair = (alone, self._encode(negative)) if any(guided for *_, guided in plan) else None
        static = {"model": self.model, "sampler": settings.sampler, "mesh": self.mesh}
        keys, carry = _start(spread(np.uint32(seeds), self.mesh), **static)
        static |= {"dtype": self.dtype}
        traced = settings.traced()
        for start, stop, guided in plan:
            piece, cond = steps_between(trajectory, start, stop), pair if guided else alone
            carry = _run(carry, self.params, cond, traced, keys, piece, guided=guided, **static)
            jax.block_until_ready(carry)
            bar.update((stop - start) * len(seeds))
        return carry.x

    def _encode(self, captions):
        static = {"model": self.model, "dtype": self.dtype, "mesh": self.mesh}
        return _encode(self.params, spread(captions, self.mesh), **static)


class Settings(NamedTuple):
    """How a batch is sampled; see `Pipeline.text_to_image`."""

    guidance_scale: float
    guidance_interval: tuple[int, int] | None
    dynamic_threshold: float | None
    sampler: str
    eta: float

    def guides_at(self, t):
        """Whether a step at timestep t computes the branch that guidance leads away from."""
        low, high = self.guidance_interval or (t, t)
        return bool(self.guidance_scale != 1 and low <= t <= high)

    def traced(self):
        """The numbers among them as arrays; what is None compiles to a smaller program."""
        threshold = self.dynamic_threshold
        return Traced(
            np.float32(self.guidance_scale),
            np.float32(self.eta) if self.sampler == "ddim" and self.eta else None,
            None if threshold is None else np.float32(threshold),
        )


class Traced(NamedTuple):
    """The numbers of Settings that do not change the program."""

    scale: np.float32
    eta: np.float32 | None
    threshold: np.float32 | None


@partial(jax.jit, static_argnames=("model", "dtype", "mesh"))
def _encode(params, captions, *, model, dtype, mesh):
    def encode(params, captions):
        return text2im.encode_text(model, params, *captions, dtype=dtype)

    return over_rows(encode, mesh)(params, captions)


@partial(jax.jit, static_argnames=("model", "sampler", "mesh"))
def _start(seeds, *, model, sampler, mesh):
    """Each picture's key, and the run's first carry."""
    side = model.unet.image_size

    def start(_, seeds):
        keys = jax.vmap(jax.random.key)(seeds)
        # The steps fold in 0, 1, ...: the start takes a number that no step has.
        x_T = samplers.normal(samplers.fold_in(keys, model.timesteps), (side, side, 3))
        return keys, samplers.init_carry(x_T, _stepper(sampler))

    return over_rows(start, mesh)(None, seeds)


@partial(
    jax.jit,
    static_argnames=("model", "dtype", "sampler", "guided", "mesh"),
    donate_argnames=("carry",),
)
def _run(carry, params, cond, traced, keys, trajectory, *, model, dtype, sampler, guided, mesh):
    def run(whole, rows):
        params, traced, trajectory = whole
        carry, cond, keys = rows
        denoise = partial(text2im.denoise, model, params, dtype=dtype)
        if guided:
            denoise = classifier_free(denoise, traced.scale)

        def bound(x, t):
            return denoise(x, t, cond)

        x0_fn = None if traced.threshold is None else dynamic_threshold(traced.threshold)
        hooks, stepper = samplers.Hooks(x0_fn=x0_fn), _stepper(sampler, traced.eta)
        return samplers.run_segment(bound, carry, keys, trajectory, stepper, hooks)[0]

    return over_rows(run, mesh)((params, traced, trajectory), (carry, cond, keys))


def _stepper(sampler, eta=None):
    if sampler == "ddim":
        return steppers.ddim(0.0 if eta is None else eta)
    return {"ancestral": steppers.ancestral, "dpmpp": steppers.dpm_solver_pp_2m}[sampler]()


def _plan(guides):
    """(start, stop, guided) of the pieces of a run whose steps are guided or not, as they say."""
    plan, start = [], 0
    for guided, steps in groupby(guides):
        length = len(list(steps))
        plan += [(start + first, start + last, guided) for first, last in _pieces(length)]
        start += length
    return plan


def _pieces(steps):
    """(start, stop) of up to twelve pieces of a run, so that progress shows between them.

    Equal pieces, where the number of steps has a suitable divisor, need one program to compile;
    others differ by a step, which makes it two. None has fewer than four steps unless the run has.
    """
    least = max(4, -(-steps // 12))
    equal = [steps // length for length in range(least, 3 * least) if steps % length == 0]
    number = equal[0] if equal else max(1, min(12, steps // 4))
    return list(pairwise(i * steps // number for i in range(number + 1)))


def _check(prompts, num, settings, seed, batch_size):
    if not prompts:
        raise ValueError('there is no prompt; give at least one ("" is unconditional)')
    if np.shape(seed) not in ((), (len(prompts),)):
        raise ValueError(f"seed has {len(seed)} numbers for {len(prompts)} prompts")
    low, high = np.min(seed), np.max(seed)
    for name, value, least in (("num", num, 1), ("seed", low, 0), ("batch_size", batch_size, 1)):
        if value < least:
            raise ValueError(f"{name} is {value}; it must be {least} or more")
    if high + num > 2**32:
        raise ValueError(f"seed is {high}; seed + num must be at most {2**32}")
    if not np.isfinite(settings.guidance_scale):
        raise ValueError(f"guidance_scale is {settings.guidance_scale}; it must be a finite number")
    if settings.guidance_interval is not None:
        low, high = settings.guidance_interval
        if not 0 <= low <= high:
            raise ValueError(
                f"guidance_interval is {low} to {high}; it must be from one timestep, 0 or more, "
                "to the same or a later one"
            )
    if settings.dynamic_threshold is not None and not 0 < settings.dynamic_threshold <= 1:
        raise ValueError(
            f"dynamic_threshold is {settings.dynamic_threshold}; it must be above 0 and at most 1"
        )
    if settings.sampler not in SAMPLERS:
        allowed = ", ".join(SAMPLERS)
        raise ValueError(f"sampler is {settings.sampler!r}; it must be one of {allowed}")
    if not 0 <= settings.eta <= 1:
        raise ValueError(f"eta is {settings.eta}; it must be from 0 to 1")
