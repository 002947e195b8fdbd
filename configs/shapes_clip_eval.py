"""An ordinary CLIP of Shapes, of clean pictures: it judges what others have drawn.

    XLA_FLAGS=--xla_force_host_platform_device_count=2 python train.py configs/shapes_clip_eval.py

A model that was guided by a CLIP draws what that CLIP likes, so another one has to judge: this one
has another width, and another seed of its weights, its noise and its examples, than
configs/shapes_clip.py. It is made for two CPU cores. 0.9 million parameters. Neither its speed nor
what it learns has been measured yet.
"""

from glide_jax.config import Clip, ClipImage, Data, Optim, Recipe, TextEncoder


def get_config():
    """The recipe."""
    return Recipe(
        name="shapes_clip_eval",
        model=Clip(
            image=ClipImage(image_size=32, patch=4, width=96, layers=4, heads=3),
            text=TextEncoder(context=32, vocab_size=512, width=96, layers=3, heads=3),
            embedding=96,
            timesteps=0,
        ),
        data=Data(seed=1),
        optim=Optim(
            learning_rate=1e-3,
            warmup_steps=200,
            decay="cosine",
            final_fraction=0.05,
            beta2=0.98,
            weight_decay=0.1,
            no_weight_decay=("*_embedding",),
            ema_decays=(0.998,),
        ),
        batch_size=128,
        steps=4000,
        seed=1,
        log_every=50,
        checkpoint_every=200,
        sample_every=500,
    )
