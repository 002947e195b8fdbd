"""One batch of pictures: the compiled programs that draw it, and the settings they take."""

from functools import partial
from itertools import groupby, pairwise
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from glide_jax import config
from glide_jax.diffusion import samplers, steppers
from glide_jax.diffusion.guidance import by_similarity, classifier_free
from glide_jax.diffusion.respacing import log_snr_timesteps, spaced_timesteps
from glide_jax.diffusion.schedule import make_schedule, respace
from glide_jax.diffusion.thresholding import dynamic_threshold
from glide_jax.diffusion.trajectory import reverse_trajectory, steps_between
from glide_jax.models import clip, text2im
from glide_jax.parallel import over_rows, spread

SAMPLERS = ("ancestral", "ddim", "dpmpp")


class Network(NamedTuple):
    """A model where it computes."""

    model: config.Model
    params: Any  # on each device of the mesh
    dtype: Any  # of the matrix products
    mesh: Mesh


class Guide(NamedTuple):
    """The CLIP that leads the pictures of a batch, and where to."""

    network: Network  # on the mesh of the model that it guides
    captions: Any  # int32 tokens and bool mask [B, context] of its own tokenizer


class Settings(NamedTuple):
    """How pictures are sampled; see `Pipeline.text_to_image` and `Pipeline.upsample`."""

    guidance_scale: float = 3.0
    guidance_interval: tuple[int, int] | None = None
    dynamic_threshold: float | None = None
    sampler: str = "ancestral"
    steps: int | str = 100
    eta: float = 0.0
    noise_scale: float = 1.0
    clip_guidance_scale: float = 0.0

    def check(self):
        """Raises a ValueError that names the first one that is not allowed, and what is."""
        for name in ("guidance_scale", "noise_scale", "clip_guidance_scale"):
            if not np.isfinite(getattr(self, name)):
                raise ValueError(f"{name} is {getattr(self, name)}; it must be a finite number")
        if self.guidance_interval is not None:
            low, high = self.guidance_interval
            if not 0 <= low <= high:
                raise ValueError(
                    f"guidance_interval is {low} to {high}; it must be from one timestep, 0 or "
                    "more, to the same or a later one"
                )
        if self.dynamic_threshold is not None and not 0 < self.dynamic_threshold <= 1:
            raise ValueError(
                f"dynamic_threshold is {self.dynamic_threshold}; it must be above 0 and at most 1"
            )
        if self.sampler not in SAMPLERS:
            allowed = ", ".join(SAMPLERS)
            raise ValueError(f"sampler is {self.sampler!r}; it must be one of {allowed}")
        if not 0 <= self.eta <= 1:
            raise ValueError(f"eta is {self.eta}; it must be from 0 to 1")

    def trajectory(self, model: config.Diffusion):
        """The steps of a run; a ValueError for steps that are no such thing."""
        schedule = make_schedule(model.schedule, model.timesteps)
        if self.sampler != "dpmpp":
            timesteps = spaced_timesteps(model.timesteps, self.steps)
        elif str(self.steps).isdecimal():
            timesteps = log_snr_timesteps(schedule, int(self.steps))
        else:
            raise ValueError(f"steps is {self.steps!r}; for dpmpp it must be a number")
        return reverse_trajectory(respace(schedule, timesteps))

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
            np.float32(self.clip_guidance_scale) if self.clip_guidance_scale else None,
        )


class Traced(NamedTuple):
    """The numbers of Settings that do not change the program."""

    scale: np.float32
    eta: np.float32 | None
    threshold: np.float32 | None
    clip_scale: np.float32 | None


def sample_batch(
    network: Network, captions, negative, pictures, seeds, settings, trajectory, bar, guide=None
):
    """One batch, each picture from its own seed.

    Args:
        network: the model.
        captions: int32 tokens and bool mask [B, ctx]; B is a multiple of the devices.
        negative: those that guidance leads away from, in the same shape.
        pictures: what else the model is given, by name (see `models.text2im`), [B, ...].
        seeds: uint32 [B].
        settings: the Settings.
        trajectory: theirs, of this model.
        bar: is told of every step of every picture.
        guide: the Guide, where `clip_guidance_scale` is not 0; None where it is.

    Returns:
        float32 [B, H, W, 3] in [-1, 1].
    """
    mesh, model = network.mesh, network.model
    plan = _plan([settings.guides_at(t) for t in trajectory.t])
    pictures = spread(pictures, mesh)
    alone = _condition(network, captions) | pictures
    pair = None
    if any(guided for *_, guided in plan):
        pair = alone, _condition(network, negative) | pictures
    static = {"model": model, "sampler": settings.sampler, "mesh": mesh}
    keys, carry = _start(spread(seeds, mesh), np.float32(settings.noise_scale), **static)
    traced, lead, judge = settings.traced(), (None, None), None
    if guide:
        judge = guide.network.model, guide.network.dtype
        lead = guide.network.params, _condition(guide.network, guide.captions, clip.text_embedding)
    static |= {"dtype": network.dtype, "judge": judge}
    for start, stop, guided in plan:
        piece, cond = steps_between(trajectory, start, stop), pair if guided else alone
        carry = _run(
            carry, network.params, cond, lead, traced, keys, piece, guided=guided, **static
        )
        jax.block_until_ready(carry)
        bar.update((stop - start) * len(seeds))
    return carry.x


def _condition(network, captions, encode=text2im.encode_text):
    static = {"model": network.model, "dtype": network.dtype, "mesh": network.mesh}
    return _encode(network.params, spread(captions, network.mesh), encode=encode, **static)


@partial(jax.jit, static_argnames=("encode", "model", "dtype", "mesh"))
def _encode(params, captions, *, encode, model, dtype, mesh):
    def rows(params, captions):
        return encode(model, params, *captions, dtype=dtype)

    return over_rows(rows, mesh)(params, captions)


@partial(jax.jit, static_argnames=("model", "sampler", "mesh"))
def _start(seeds, noise_scale, *, model, sampler, mesh):
    """Each picture's key, and the run's first carry."""
    side = model.unet.image_size

    def start(noise_scale, seeds):
        keys = jax.vmap(jax.random.key)(seeds)
        # The steps fold in 0, 1, ...: the start takes a number that no step has.
        x_T = samplers.normal(samplers.fold_in(keys, model.timesteps), (side, side, 3))
        return keys, samplers.init_carry(noise_scale * x_T, _stepper(sampler))

    return over_rows(start, mesh)(noise_scale, seeds)


@partial(
    jax.jit,
    static_argnames=("model", "dtype", "sampler", "guided", "mesh", "judge"),
    donate_argnames=("carry",),
)
def _run(
    carry, params, cond, lead, traced, keys, piece, *, model, dtype, sampler, guided, mesh, judge
):
    def run(whole, rows):
        params, clip_params, traced, piece = whole
        carry, cond, text, keys = rows
        denoise = partial(text2im.denoise, model, params, dtype=dtype)
        if guided:
            denoise = classifier_free(denoise, traced.scale)

        def bound(x, t):
            return denoise(x, t, cond)

        x0_fn = None if traced.threshold is None else dynamic_threshold(traced.threshold)
        similarity = partial(_similarity, judge, clip_params, text)
        score_fn = judge and by_similarity(similarity, traced.clip_scale)
        hooks, stepper = samplers.Hooks(x0_fn, score_fn), _stepper(sampler, traced.eta)
        return samplers.run_segment(bound, carry, keys, piece, stepper, hooks)[0]

    clip_params, text = lead
    whole, rows = (params, clip_params, traced, piece), (carry, cond, text, keys)
    return over_rows(run, mesh)(whole, rows)


def _similarity(judge, params, text, x, t):
    """How well noised pictures fit their captions' embeddings, [B]."""
    model, dtype = judge
    return clip.similarity(params, clip.image_embedding(model, params, x, t, dtype=dtype), text)


def _stepper(sampler, eta=None):
    if sampler == "ddim":
        return steppers.ddim(0.0 if eta is None else eta)
    return {"ancestral": steppers.ancestral, "dpmpp": steppers.dpm_solver_pp_2m}[sampler]()


def _plan(guides):
    """(start, stop, guided) of the pieces of a run whose steps are guided or not, as they say."""
    plan, start = [], 0
    for guided, steps in groupby(guides):
        length = len(list(steps))
        plan += [(start + first, start + last, guided) for first, last in pieces(length)]
        start += length
    return plan


def pieces(steps):
    """(start, stop) of up to twelve pieces of a run, so that progress shows between them.

    Equal pieces, where the number of steps has a suitable divisor, need one program to compile;
    others differ by a step, which makes it two. None has fewer than four steps unless the run has.
    """
    least = max(4, -(-steps // 12))
    equal = [steps // length for length in range(least, 3 * least) if steps % length == 0]
    number = equal[0] if equal else max(1, min(12, steps // 4))
    return list(pairwise(i * steps // number for i in range(number + 1)))
