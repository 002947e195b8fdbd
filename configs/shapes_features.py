"""A small classifier of Shapes at 32 pixels: FID, KID and the like on Shapes are of its features.

    XLA_FLAGS=--xla_force_host_platform_device_count=2 python train.py configs/shapes_features.py

Made for a few minutes on two CPU cores. 0.4 million parameters, 128 features; its classes are the
kinds of objects from left to right. Another seed of the examples than the models have that it
judges. Neither its speed nor what it learns has been measured yet.
"""

from glide_jax.config import Classifier, Data, Optim, Recipe


def get_config():
    """The recipe."""
    return Recipe(
        name="shapes_features",
        model=Classifier(),
        data=Data(seed=2),
        optim=Optim(
            learning_rate=2e-3,
            warmup_steps=100,
            decay="cosine",
            final_fraction=0.02,
            weight_decay=0.05,
            ema_decays=(0.998,),
        ),
        batch_size=128,
        steps=3000,
        seed=2,
        log_every=50,
        checkpoint_every=500,
        sample_every=500,
    )
