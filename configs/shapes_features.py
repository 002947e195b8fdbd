"""A small classifier of Shapes at 32 pixels: FID, KID and the like on Shapes are of its features.

    python train.py configs/shapes_features.py

Made for CPU cores: 100 to 200 images a second on one beside other work, so half an hour. 0.4
million parameters, 128 features; its classes are the kinds of objects from left to right. Another
seed of the examples than the models have that it judges. Expect a loss of 0.3, and 91 % of the
objects and 79 % of the scenes right (measured at the end of the shipped model's run, whose first
700 steps had a learning rate that fell to the end of those).
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
            warmup_steps=50,
            decay="cosine",
            final_fraction=0.02,
            weight_decay=0.05,
            ema_decays=(0.998,),
        ),
        batch_size=128,
        steps=1400,
        seed=2,
        log_every=50,
        checkpoint_every=100,
        sample_every=100,
    )
