"""Made ready for classifier-free guidance: a model that always saw its captions, gone on with.

    python train.py configs/shapes32.py --caption-dropout 0 --run runs/captioned
    python train.py configs/cfg_finetune.py

GLIDE §2.3: the first command trains a model that never sees an empty caption; the second goes on
from it with a fifth of the captions emptied, so that it learns to draw without one, too, and
guidance has two branches. --init-from takes another such parent. What it comes to has not been
measured; it is the network of configs/shapes32.py, and as fast.
"""

from glide_jax.config import Optim, Recipe


def get_config():
    """The recipe."""
    return Recipe(
        name="cfg_finetune",
        init_from="runs/captioned",
        optim=Optim(
            learning_rate=3e-4,
            warmup_steps=100,
            decay="cosine",
            final_fraction=0.05,
            ema_decays=(0.998,),
        ),
        caption_dropout=0.2,
        batch_size=32,
        steps=1000,
        log_every=50,
        checkpoint_every=100,
        sample_every=500,
    )
