"""A model that inpaints: the shipped one, grown to take a masked picture, and gone on with.

    XLA_FLAGS=--xla_force_host_platform_device_count=2 python train.py configs/inpaint_finetune.py

GLIDE §3: random parts of the training pictures are erased, and what is left of them goes in beside
the noised picture with its mask, through channels of the first convolution that begin at zero: at
the first step the model is its parent. What is erased, --erase says. --init-from takes any model
without inpainting, glide-base too (with a smaller --optim.learning-rate), and --data.source folder
--data.path DIR your own pictures. Speed, loss and how well it paints have not been measured.
"""

from glide_jax.config import Diffusion, Optim, Recipe, UNet


def get_config():
    """The recipe."""
    return Recipe(
        name="inpaint_finetune",
        init_from="shapes32",
        model=Diffusion(unet=UNet(inpaint=True)),
        optim=Optim(
            learning_rate=3e-4,
            warmup_steps=100,
            decay="cosine",
            final_fraction=0.05,
            ema_decays=(0.998,),
        ),
        caption_dropout=0.1,
        batch_size=32,
        steps=3000,
        log_every=50,
        checkpoint_every=100,
        sample_every=500,
    )
