"""One batch of pictures: the compiled programs that draw it."""

from functools import partial
from itertools import groupby, pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from glide_jax import compiling, config
from glide_jax.diffusion import samplers, steppers
from glide_jax.diffusion.guidance import by_similarity, classifier_free
from glide_jax.diffusion.inpainting import keep_known, lead_unknown, replace_known
from glide_jax.diffusion.schedule import make_schedule
from glide_jax.diffusion.thresholding import dynamic_threshold
from glide_jax.diffusion.trajectory import steps_between
from glide_jax.models import clip, text2im
from glide_jax.parallel import over_rows, spread
from glide_jax.settings import UNGUIDED

FIRST = 2**32 - 1  # folded into a key it draws the first noise; the steps fold in 0, 1, ...


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


class Given(NamedTuple):
    """The pictures that a batch is made from, float32 in [-1, 1]; every array leads with [B]."""

    inputs: dict[str, Any] = {}  # what the network is given, by name (see `models.text2im`)
    known: tuple[Any, Any] | None = None  # a picture [B, H, W, 3] and its mask [B, H, W, 1]
    start: Any = None  # a picture [B, H, W, 3] that the run begins from
    start_captions: Any = None  # what it shows, tokens and mask: it is inverted, not noised


def sample_batch(
    network: Network, captions, negative, given, seeds, settings, trajectory, told, guide=None
):
    """One batch, each picture from its own seed.

    Args:
        network: the model.
        captions: int32 tokens and bool mask [B, ctx]; B is a multiple of the devices.
        negative: those that guidance leads away from, in the same shape.
        given: the Given.
        seeds: uint32 [B].
        settings: the Settings.
        trajectory: theirs, of this model.
        told: (steps, x) -> None, called after each piece: how many steps of a picture were made,
            and the pictures that they led to, [B, H, W, 3].
        guide: the Guide, where `clip_guidance_scale` is not 0; None where it is.

    Returns:
        float32 [B, H, W, 3] in [-1, 1].
    """
    mesh, model = network.mesh, network.model
    inputs, known, start = spread((given.inputs, given.known, given.start), mesh)
    led = [guide is not None and settings.clip_guides_at(t, model.timesteps) for t in trajectory.t]
    plan = _plan(list(zip(map(settings.guides_at, trajectory.t), led, strict=True)))
    alone = _condition(network, captions) | inputs
    pair = None
    if any(guided for *_, (guided, _) in plan):
        pair = alone, _condition(network, negative) | inputs
    static = {"model": model, "sampler": settings.sampler, "mesh": mesh}
    levels = _levels(given, settings, trajectory)
    keys, carry = _start(spread(seeds, mesh), start, levels, **static)

    def run(carry, trajectory, plan, conditions, traced, lead, known, judge, method):
        for start, stop, (guided, led) in plan:
            clip_params, text = lead if led else (None, None)
            rows = conditions[guided], text, keys, known
            whole = network.params, clip_params, traced, steps_between(trajectory, start, stop)
            own = {"guided": guided, "judge": judge if led else None, "method": method}
            carry = _run(carry, rows, whole, **static, **own, dtype=network.dtype)
            jax.block_until_ready(carry)
            told((stop - start) * len(seeds), carry.x)
        return carry

    if given.start_captions is not None:
        up, shown = settings.inversion(model), _condition(network, given.start_captions) | inputs
        plainly = _plan([(False, False)] * len(up.t)), (shown, None), UNGUIDED, None, None
        carry = run(carry, up, *plainly, judge=None, method=None)
    lead, judge = None, None
    if guide:
        judge = guide.network.model, guide.network.dtype
        lead = guide.network.params, _condition(guide.network, guide.captions, clip.text_embedding)
    asked = plan, (alone, pair), settings.traced(), lead, known
    return run(carry, trajectory, *asked, judge=judge, method=settings.inpaint_method).x


def _levels(given, settings, trajectory):
    """What a run's first x has of the picture that it begins from, if any, and of the noise."""
    if given.start is None:
        return np.float32(0), np.float32(settings.noise_scale)
    if given.start_captions is not None:
        return np.float32(1), np.float32(0)
    here = trajectory.here
    return here.sqrt_alphas_cumprod[0], here.sqrt_one_minus_alphas_cumprod[0]


def _condition(network, captions, encode=text2im.encode_text):
    static = {"model": network.model, "dtype": network.dtype, "mesh": network.mesh}
    return _encode(network.params, spread(captions, network.mesh), encode=encode, **static)


@compiling.jit(static_argnames=("encode", "model", "dtype", "mesh"))
def _encode(params, captions, *, encode, model, dtype, mesh):
    def rows(params, captions):
        return encode(model, params, *captions, dtype=dtype)

    return over_rows(rows, mesh)(params, captions)


@compiling.jit(static_argnames=("model", "sampler", "mesh"))
def _start(seeds, picture, levels, *, model, sampler, mesh):
    """Each picture's key, and the run's first carry: signal * picture + noise * eps."""
    side = model.unet.image_size

    def start(levels, rows):
        seeds, picture = rows
        signal, noise = levels
        keys = jax.vmap(jax.random.key)(seeds)
        eps = samplers.normal(samplers.fold_in(keys, FIRST), (side, side, 3))
        x = noise * eps if picture is None else signal * picture + noise * eps
        return keys, samplers.init_carry(x, _stepper(sampler))

    return over_rows(start, mesh)(levels, (seeds, picture))


@compiling.jit(
    static_argnames=("model", "dtype", "sampler", "guided", "mesh", "judge", "method"),
    donate_argnames=("carry",),
)
def _run(carry, rows, whole, *, model, dtype, sampler, guided, mesh, judge, method):
    """A piece of a run.

    Args:
        rows: what leads with the batch: the condition or a pair of them, the Guide's text, keys,
            the known picture and its mask.
        whole: what is the same for all pictures: the model's parameters, the Guide's, the Traced,
            the piece's Trajectory.
    """

    def run(whole, rows):
        params, clip_params, traced, piece = whole
        carry, (cond, text, keys, known) = rows
        denoise = partial(text2im.denoise, model, params, dtype=dtype)
        if guided:
            denoise = classifier_free(denoise, traced.scale)

        def bound(x, t):
            return denoise(x, t, cond)

        similarity = partial(_similarity, judge, clip_params, text)
        score_fn = judge and by_similarity(similarity, traced.clip_scale)
        if judge and known is not None:
            score_fn = lead_unknown(score_fn, known[1])
        hooks = _hooks(model, traced, method, known)._replace(score_fn=score_fn)
        stepper = _stepper(sampler, traced.eta)
        return samplers.run_segment(bound, carry, keys, piece, stepper, hooks)[0]

    return over_rows(run, mesh)(whole, (carry, rows))


def _hooks(model, traced, method, known):
    """What is done about x_0 and after a step, for an inpainting method or None."""
    x0_fn = None if traced.threshold is None else dynamic_threshold(traced.threshold)
    if method is None:
        return samplers.Hooks(x0_fn)
    if method == "model":
        return samplers.Hooks(keep_known(*known, x0_fn))
    schedule = make_schedule(model.schedule, model.timesteps)
    return samplers.Hooks(x0_fn, after_step=replace_known(*known, schedule))


def _similarity(judge, params, text, x, t):
    """How well noised pictures fit their captions' embeddings, [B]."""
    model, dtype = judge
    if model.timesteps == 0:  # an ordinary CLIP takes all pictures for clean ones
        t = jnp.zeros_like(t)
    return clip.similarity(params, clip.image_embedding(model, params, x, t, dtype=dtype), text)


def _stepper(sampler, eta=None):
    if sampler == "ddim":
        return steppers.ddim(0.0 if eta is None else eta)
    return {"ancestral": steppers.ancestral, "dpmpp": steppers.dpm_solver_pp_2m}[sampler]()


def _plan(guides):
    """(start, stop, how) of the pieces of a run whose steps are guided as `guides` says of each."""
    plan, start = [], 0
    for how, steps in groupby(guides):
        length = len(list(steps))
        plan += [(start + first, start + last, how) for first, last in pieces(length)]
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
