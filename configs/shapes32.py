"""The shipped model: captioned shapes at 32 pixels.

    XLA_FLAGS=--xla_force_host_platform_device_count=2 python train.py configs/shapes32.py

Two CPU cores, as two devices: 27 images a second, so an hour and a half. Expect a loss near 0.015
and a noise error near 0.011 (measured over steps 3,300 to 3,600 of the shipped model's first
stretch, which differs a little and was gone on with: see its README). A tenth of the captions is
emptied rather than GLIDE's fifth, for a run as short as this one sees few captions.
"""

from glide_jax.config import Diffusion, Optim, Recipe, TextEncoder, UNet


def get_config():
    """The recipe."""
    return Recipe(
        name="shapes32",
        model=Diffusion(
            unet=UNet(
                image_size=32,
                model_channels=32,
                channel_mult=(1, 2, 3),
                num_res_blocks=1,
                attention_resolutions=(8,),
                head_channels=32,
                norm_groups=8,
                dropout=0.0,
            ),
            text=TextEncoder(context=32, vocab_size=512, width=128, layers=2, heads=4),
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
