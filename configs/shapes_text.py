"""A text encoder that knows which words of a caption belong together, for shapes32 to start from.

    python train.py configs/shapes_text.py

For each token it learns to tell the colour, shape, size, count and side of the object that the
token's phrase names. Another seed of the examples than the models have that start from it. The
layer on top decays, so that the encoder has to say it loudly. Expect a loss of 0.0063 and every
caption right (measured; the run ships as shapes-text).
"""

from glide_jax.config import Data, Optim, Recipe, Tagger


def get_config():
    """The recipe."""
    return Recipe(
        name="shapes_text",
        model=Tagger(),
        data=Data(seed=3),
        optim=Optim(
            learning_rate=1.5e-3,
            warmup_steps=30,
            decay="cosine",
            final_fraction=0.05,
            weight_decay=3.0,
            no_weight_decay=("text_encoder",),
            ema_decays=(0.99,),
        ),
        batch_size=64,
        steps=1200,
        seed=3,
        log_every=50,
        checkpoint_every=200,
        sample_every=100,
    )
