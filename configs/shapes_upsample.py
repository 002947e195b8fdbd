"""An upsampler of captioned shapes, from 32 to 64 pixels.

    XLA_FLAGS=--xla_force_host_platform_device_count=2 python train.py configs/shapes_upsample.py

1.3 million parameters, made for two CPU cores: it works on blocks of 2x2 pixels, 32 and 16 a side.
On two cores that had other work, too, a few steps went at 6 to 10 images a second (medians), where
those of configs/shapes32.py went at 6; on idle ones it has not been measured, nor has what loss and
pictures to expect. Captions and their dropout are those of configs/shapes32.py, whose pictures it
is to enlarge; it sees each tier alike often. Outlines differ a little in those from the means of
blocks that it is trained on; --low-res.blur and --low-res.noise can make it used to that.
"""

from glide_jax.config import Diffusion, Optim, Recipe, TextEncoder, UNet


def get_config():
    """The recipe."""
    return Recipe(
        name="shapes_upsample",
        model=Diffusion(
            unet=UNet(
                image_size=64,
                model_channels=32,
                channel_mult=(1, 2),
                num_res_blocks=1,
                attention_resolutions=(),
                head_channels=32,
                patch=2,
                norm_groups=8,
                dropout=0.0,
                low_res_size=32,
            ),
            text=TextEncoder(context=32, vocab_size=512, width=128, layers=2, heads=4),
            schedule="linear",
        ),
        optim=Optim(
            learning_rate=1e-3,
            warmup_steps=100,
            decay="cosine",
            final_fraction=0.05,
            ema_decays=(0.998,),
        ),
        caption_dropout=0.1,
        batch_size=32,
        steps=4300,
        log_every=50,
        checkpoint_every=100,
        sample_every=500,
    )
