"""The published base model, gone on with on your own captioned pictures.

    python train.py configs/finetune_published.py --data.path DIR

The model is fetched and converted at first use; docs/released.md says how, and what to do where the
address is out of reach. Captions go through its text encoder as it is: that is frozen, and 308 of
the 385 million parameters are trained. Parameters, their moving average, the optimizer's state and
gradients take 6.3 GiB of each device (7.2 with the text encoder trained, too: --optim.freeze with
nothing after it).
Activations come on top: with everything trained, 16 pictures took 3.5 GiB of an H200, in bfloat16
(docs/performance.md). On your device, once the model is there

    python train.py configs/finetune_published.py --data.path DIR --dry-run --batch-size 16

estimates it for other numbers. Fewer pictures are made up for by --optim.accumulate.
"""

from glide_jax.config import Data, Optim, Recipe


def get_config():
    """The recipe; --data.path says where the pictures are."""
    return Recipe(
        name="finetune_published",
        init_from="glide-base",
        data=Data(source="folder"),
        optim=Optim(
            learning_rate=1e-5,
            warmup_steps=100,
            decay="cosine",
            ema_decays=(0.999,),
            freeze=("text_encoder",),
        ),
        batch_size=4,
        steps=5000,
        log_every=50,
        checkpoint_every=500,
        sample_every=1000,
        keep=2,
    )
