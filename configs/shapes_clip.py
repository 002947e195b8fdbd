"""A small noised CLIP of Shapes at 32 pixels, which can guide `shapes32`.

    XLA_FLAGS=--xla_force_host_platform_device_count=2 python train.py configs/shapes_clip.py

Made for two CPU cores, as two devices: the captions of a batch are told apart over both. The noise
is that of `shapes32`, for a CLIP guides a model whose pictures have the noise that it was trained
on. 1.6 million parameters. Neither its speed nor what it learns has been measured yet; the learning
rate, the batch and the number of steps are places to start.
"""

from glide_jax.config import Clip, ClipImage, Optim, Recipe, TextEncoder


def get_config():
    """The recipe."""
    return Recipe(
        name="shapes_clip",
        model=Clip(
            image=ClipImage(image_size=32, patch=4, width=128, layers=4, heads=4),
            text=TextEncoder(context=32, vocab_size=512, width=128, layers=3, heads=4),
            embedding=128,
        ),
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
        steps=6000,
        log_every=50,
        checkpoint_every=200,
        sample_every=500,
        keep_best="eval_loss",
    )
