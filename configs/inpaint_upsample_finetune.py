"""An upsampler that inpaints: the one of shapes, grown to take a masked picture, and gone on with.

    python train.py configs/inpaint_upsample_finetune.py

The mask is drawn at the low resolution and enlarged; the model sees the whole small picture, which
a base model has painted by then, and of the large one what is kept (GLIDE §3). Nothing of this
training has been measured.
"""

from glide_jax.config import Diffusion, Optim, Recipe, UNet


def get_config():
    """The recipe."""
    return Recipe(
        name="inpaint_upsample_finetune",
        init_from="shapes-upsample",
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
        steps=2000,
        log_every=50,
        checkpoint_every=100,
        sample_every=500,
    )
