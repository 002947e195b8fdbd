"""The paper's upsampler, from 64 to 256 pixels, on your own captioned pictures.

    python train.py configs/upsample256.py --data.path DIR

The sizes and the schedule of the published one, 398 million parameters; docs/data.md shows how to
lay the pictures out. Made for large GPUs or TPUs. No training of it has been run; single steps were
timed on an H200, 80 ms and 12.6 GiB for 4 pictures (docs/performance.md). The learning rate, the
batch and the number of steps are places to start. --optim.accumulate saves memory. To go on from
the published weights instead, give --init-from glide-upsample, which brings its own tokenizer.
"""

from glide_jax.config import Data, Diffusion, Optim, Recipe, UNet


def get_config():
    """The recipe; --data.path says where the pictures are."""
    return Recipe(
        name="upsample256",
        model=Diffusion(
            unet=UNet(
                image_size=256,
                channel_mult=(1, 1, 2, 2, 4, 4),
                num_res_blocks=2,
                low_res_size=64,
            ),
            schedule="linear",
        ),
        data=Data(source="folder"),
        optim=Optim(learning_rate=1e-4, warmup_steps=1000),
        batch_size=64,
        steps=200_000,
        log_every=50,
        checkpoint_every=1000,
        sample_every=5000,
    )
