"""python -m tests.eight_devices FILE.npz: what one, two and eight simulated devices make.

Pictures by 1, 2 and 8 of them, and twenty steps of each kind of training by one and by all.

A program of its own, for a process has as many devices as it was started with.
"""

import sys
from dataclasses import replace

import jax
import numpy as np
import optax
from jax.flatten_util import ravel_pytree

from glide_jax import Pipeline, parallel
from glide_jax.layouts import LAYOUTS
from glide_jax.training.tasks import Clip, Diffusion
from tests import tiny
from tests.one_step import one_step

COUNTS = (1, 2, 8)
# A run of two or three steps is nearly the first step's x_0, which is x_T's rounding magnified by
# 1 / sqrt(alphas_cumprod), 20,000: two levels now and then. From five on later steps mend it.
STEPS = 5
PROMPTS = ["a red circle", "two small green stars"]
# Clipped, for twenty steps on parameters that were drawn at random go astray otherwise.
SGD = optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(0.05, momentum=0.9))
GUIDED = {"ddim": {"sampler": "ddim", "eta": 1.0}, "dpmpp": {"sampler": "dpmpp"}}


def train(params, tokenizer):
    """What training makes on one device and, in each layout, on eight, the trees as vectors.

    The first step's loss and gradient; of twenty steps every loss, and how far the parameters and
    their average have moved after them.
    """
    (whole,) = tiny.batches(0, 1, tokenizer, size=16)
    recipe, batch = tiny.made_smaller(whole)
    clip, clip_params = replace(recipe, model=tiny.CLIP), tiny.random_params(3, tiny.CLIP)
    for over in (None, *LAYOUTS):
        critic = Clip(clip, axis_name=parallel.AXIS if over == "pmap" else None)
        for name, *case in (
            ("", Diffusion(recipe), batch, params),
            ("CLIP's ", critic, whole, clip_params),
        ):
            made = one_step(*case, over=over, optimizer=SGD, steps=20)
            start = ravel_pytree(case[-1])[0]
            yield f"{over}, {name}loss", made.means["loss"]
            yield f"{over}, {name}gradient", ravel_pytree(made.gradient)[0]
            yield f"{over}, {name}curve", made.curve
            yield f"{over}, {name}params", ravel_pytree(made.state.params)[0] - start
            yield f"{over}, {name}average", ravel_pytree(made.state.ema_params)[0] - start


def main(path):
    """Draws and trains, and saves what comes of it by its name."""
    params, tokenizer = tiny.random_params(model=tiny.SMALLER), tiny.tokenizer()
    images = dict(train(params, tokenizer))
    for count in COUNTS:
        pipeline = Pipeline(tiny.SMALLER, params, tokenizer, devices=jax.devices()[:count])

        def draw(num, batch_size, pipeline=pipeline, **settings):
            return pipeline.text_to_image(
                PROMPTS, num=num, batch_size=batch_size, steps=STEPS, seed=5, **settings
            )

        # Ancestral sampling, and one branch of guidance: the number of pictures is what matters.
        images[f"{count}, batch 64"] = draw(num=32, batch_size=64, guidance_scale=1.0)
        images[f"{count}, batch 1"] = draw(num=5, batch_size=1, guidance_scale=1.0)
        for name, settings in GUIDED.items() if count != 2 else ():
            images[f"{count}, {name}"] = draw(num=4, batch_size=8, **settings)
    np.savez(path, **images)


if __name__ == "__main__":
    main(sys.argv[1])
