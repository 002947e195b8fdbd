"""All pictures that a call asks for, batch by batch, each from its own seed."""

from typing import Any, NamedTuple

import jax
import numpy as np
from tqdm import tqdm

from glide_jax.images import to_uint8
from glide_jax.sampling import Given, Guide, sample_batch
from glide_jax.settings import Settings


class Order(NamedTuple):
    """How many pictures are drawn, and from which seeds; see `Pipeline.text_to_image`."""

    num: int = 1
    seed: Any = 0
    batch_size: int = 16
    progress: Any = False
    what: str = "sampling"  # what the progress bar is called

    def check(self, prompts):
        """Raises a ValueError that names the first value that is not allowed, and what is."""
        if isinstance(prompts, str):
            raise ValueError(f"prompts is the string {prompts!r}; it must be a list of strings")
        if not prompts:
            raise ValueError('there is no prompt; give at least one ("" is unconditional)')
        if np.shape(self.seed) not in ((), (len(prompts),)):
            raise ValueError(f"seed has {len(self.seed)} numbers for {len(prompts)} prompts")
        low, high = np.min(self.seed), np.max(self.seed)
        least = {"num": (self.num, 1), "seed": (low, 0), "batch_size": (self.batch_size, 1)}
        for name, (value, allowed) in least.items():
            if value < allowed:
                raise ValueError(f"{name} is {value}; it must be {allowed} or more")
        if high + self.num > 2**32:
            raise ValueError(
                f"seed is {high} and num {self.num}; together they must be at most {2**32}"
            )


def draw(
    network,
    tokenizer,
    prompts,
    settings: Settings,
    order: Order,
    *,
    negative_prompt="",
    given=Given(),  # noqa: B008
    clip=None,
):
    """`order.num` pictures a prompt, those of a prompt side by side.

    Args:
        network: the `sampling.Network`.
        tokenizer: its captions'.
        prompts: a list of strings.
        settings: how they are sampled.
        order: how many.
        negative_prompt: what guidance leads away from.
        given: the Given, every array for all pictures [len(prompts) * num, ...].
        clip: a `NoisedClip`, or None.

    Returns:
        uint8 [len(prompts) * num, H, W, 3].

    Raises:
        ValueError: names the argument, its value and what is allowed.
    """
    order.check(prompts)
    prompts, num = list(prompts), order.num
    if clip:
        clip.check_fits(network)
    settings.check()
    if clip is None:
        settings = settings._replace(clip_guidance_scale=0.0)
    trajectory = settings.trajectory(network.model)
    work = len(trajectory.t)
    if given.start_captions is not None:
        work += len(settings.inversion(network.model).t)
    captions, negative = (tokenizer.encode(c) for c in (prompts, [negative_prompt]))
    clip_captions = clip.tokenizer.encode(prompts) if settings.clip_guidance_scale else None
    total, seeds = len(prompts) * num, np.broadcast_to(order.seed, len(prompts))
    images = []
    batches = _batches(total, order.batch_size, network.mesh.size)
    steps = batches.size * work
    bar = tqdm(total=steps, desc=order.what, unit="step", disable=order.progress is not True)
    with bar:
        told = _teller(order.progress, bar, images, total)
        for rows in batches:
            own = [leaf[rows // num] for leaf in captions]
            other = [np.repeat(leaf, len(rows), axis=0) for leaf in negative]
            own_seeds = np.uint32(seeds[rows // num] + rows % num)
            guide = None
            if clip_captions:
                guide = Guide(clip.network, [leaf[rows // num] for leaf in clip_captions])
            part = jax.tree.map(lambda leaf, rows=rows: leaf[rows], given)
            batch = own, other, part, own_seeds
            images.append(sample_batch(network, *batch, settings, trajectory, told, guide))
    return to_uint8(np.concatenate(images)[:total])


def _teller(progress, bar, images, total):
    """What is told of each piece of a run: the bar, and the caller's function if there is one.

    `images` is the list of the batches that are done, and `total` how many pictures will be.
    """
    made = 0

    def told(steps, x):
        nonlocal made
        made += steps
        bar.update(steps)
        if callable(progress):
            progress(made / bar.total, to_uint8(np.concatenate([*images, x])[:total]))

    return told


def _batches(total, size, devices):
    """Which pictures each batch holds, [batches, size], size a multiple of the devices."""
    size = -(-min(size, total) // devices) * devices
    # The last batch is filled up, so that there is one program to compile.
    return np.resize(np.arange(total), (-(-total // size), size))
