"""A model of one's own, from a model that is there and a folder of captioned pictures.

python train.py configs/finetune.py --data.path DIR
"""

from glide_jax.config import Data, Optim, Recipe


def get_config():
    """The recipe."""
    return Recipe(
        name="finetune",
        init_from="shapes32",
        data=Data(source="folder"),
        optim=Optim(
            learning_rate=3e-4,
            warmup_steps=50,
            decay="cosine",
            final_fraction=0.02,
            ema_decays=(0.99,),
        ),
        caption_dropout=0.1,
        batch_size=8,
        steps=1500,
        log_every=25,
        checkpoint_every=100,
        sample_every=500,
    )
