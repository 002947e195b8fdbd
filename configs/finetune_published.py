"""The published base model, gone on with on your own captioned pictures.

    python train.py configs/finetune_published.py --data.path DIR

The model is fetched and converted at first use; docs/released.md says how, and what to do where the
address is out of reach. Captions go through its text encoder as it is: that is frozen, and 308 of
the 385 million parameters are trained. Parameters, their moving average, and the optimizer's state
take 5.2 GiB of each device (5.7 with the text encoder trained, by --optim.freeze ""). Gradients and
activations come to 2.7 GiB and 1.1 GiB more for every picture of a device, in float32, by the
compiler's estimate on a CPU, with everything trained; so a device's pictures, --batch-size over
their number, are at most:

    memory of a device   16 GiB   24 GiB   40 GiB   80 GiB
    pictures             6        13       27       61

The estimate has not been held against a GPU or TPU, where bfloat16 takes less. Fewer pictures are
made up for by --optim.accumulate.
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
