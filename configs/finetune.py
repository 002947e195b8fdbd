"""A model of one's own, from a model that is there and a folder of captioned pictures.

    python train.py configs/finetune.py --data.path DIR

From the shipped model, 1,500 steps of 8 pictures of 32 pixels take 17 minutes of two CPU cores and
2.6 GiB; twelve photographs it then knows by heart (docs/finetuning.md has them, at a learning rate
of 1e-3). With captions in words that the parent knows, --optim.freeze text_encoder leaves its
reading as it is. Larger parents take more: start with a few steps and look.
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
        loss_weighting="min_snr",
        caption_dropout=0.1,
        batch_size=8,
        steps=1500,
        log_every=25,
        checkpoint_every=100,
        sample_every=500,
    )
