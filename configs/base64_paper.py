"""The paper's base model, at 64 pixels, which was never published (GLIDE §4).

    python train.py configs/base64_paper.py --data.path DIR

3.5 billion parameters: the UNet of 512 channels, and a text encoder of 24 blocks of width 2048. The
batch and the number of steps are the paper's; the learning rate is ADM's at 64 pixels. Each device
has its share of the state (`parallel`), and activations are computed anew (`remat`);

    python train.py configs/base64_paper.py --dry-run --devices 64 --device-memory 32GiB

says what it takes of each of 64 devices: 27 GiB by a CPU's estimate, half of them
parameters that are gathered at most (docs/scale.md). It has not been run.
"""

from glide_jax.config import Data, Diffusion, Optim, Recipe, TextEncoder, UNet


def get_config():
    """The recipe; --data.path says where the pictures are."""
    return Recipe(
        name="base64_paper",
        model=Diffusion(
            unet=UNet(model_channels=512),
            text=TextEncoder(width=2048, layers=24, heads=32),
        ),
        data=Data(source="folder"),
        optim=Optim(learning_rate=1e-4, warmup_steps=1000),
        batch_size=2048,
        steps=2_500_000,
        dtype="bfloat16",
        parallel="fsdp",
        remat="blocks",
        log_every=50,
        checkpoint_every=1000,
        sample_every=10_000,
    )
