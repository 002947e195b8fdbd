"""A model that trains in seconds: for tests, and for trying things out.

    python train.py configs/tiny.py

Forty steps, too few to read captions: at step 40 expect a loss near 0.44 and a caption gap of 5e-5.
Two CPU cores: 56 s, most of it compiling; 27 s from the second time on.
"""

from glide_jax.config import Diffusion, Optim, Recipe, TextEncoder, UNet


def get_config():
    """The recipe."""
    return Recipe(
        name="tiny",
        model=Diffusion(
            unet=UNet(
                image_size=32,
                model_channels=16,
                channel_mult=(1, 1),
                num_res_blocks=1,
                attention_resolutions=(),
                head_channels=16,
                norm_groups=8,
                dropout=0.0,
            ),
            text=TextEncoder(context=24, vocab_size=400, width=32, layers=1, heads=2),
        ),
        optim=Optim(learning_rate=1e-3, warmup_steps=10, ema_decays=(0.99,)),
        batch_size=8,
        steps=40,
        log_every=5,
        checkpoint_every=20,
        sample_every=40,
        sample_steps=4,
    )
