"""Your own captioned pictures, at 64 pixels; docs/data.md shows how to lay them out.

    python train.py configs/folder.py --data.path DIR

31 million parameters; for a GPU. What it comes to there has not been measured. On a CPU a step of
32 pictures (made up, JPEGs of 256 pixels) took 83 seconds of one core's time, and the training
10.8 GiB at its peak: it starts there, but it does not get anywhere. `--optim.accumulate` saves
memory. How many steps a data set takes has not been measured either; the sample grids show it.
"""

from glide_jax.config import Data, Diffusion, Optim, Recipe, TextEncoder, UNet


def get_config():
    """The recipe; --data.path says where the pictures are."""
    return Recipe(
        name="folder",
        model=Diffusion(
            unet=UNet(
                image_size=64,
                model_channels=64,
                channel_mult=(1, 2, 3, 4),
                num_res_blocks=2,
                attention_resolutions=(16, 8),
                head_channels=32,
                dropout=0.1,
            ),
            text=TextEncoder(context=64, vocab_size=4096, width=256, layers=4, heads=4),
        ),
        data=Data(source="folder"),
        optim=Optim(learning_rate=3e-4, warmup_steps=1000, decay="cosine", ema_decays=(0.9995,)),
        batch_size=32,
        steps=100_000,
        log_every=50,
        checkpoint_every=1000,
        sample_every=5000,
    )
