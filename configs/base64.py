"""A base model of the published size, at 64 pixels, on your own captioned pictures.

    python train.py configs/base64.py --data.path DIR

385 million parameters; docs/data.md shows how to lay the pictures out, and

    python train.py configs/base64.py --dry-run --devices 8 --device-memory 80GiB

says what it takes of each of eight devices (docs/scale.md has the table). No training of it has
been run; single steps were timed on an H200, 70 ms and 10.7 GiB for 16 pictures
(docs/performance.md). The learning rate is ADM's at 64 pixels; the batch and the number of steps
are places to start.
"""

from glide_jax.config import Data, Diffusion, Optim, Recipe


def get_config():
    """The recipe; --data.path says where the pictures are."""
    return Recipe(
        name="base64",
        model=Diffusion(),
        data=Data(source="folder"),
        optim=Optim(learning_rate=1e-4, warmup_steps=1000),
        batch_size=256,
        steps=500_000,
        log_every=50,
        checkpoint_every=1000,
        sample_every=5000,
    )
