"""A model that inpaints: the shipped one, grown to take a masked picture, and gone on with.

    XLA_FLAGS=--xla_force_host_platform_device_count=2 python train.py configs/inpaint_finetune.py

GLIDE §3: random parts of the training pictures are erased, and what is left of them goes in beside
the noised picture with its mask, through channels of the first convolution that begin at zero: at
the first step the model is its parent. What is erased, --erase says. --init-from takes any model
without inpainting, glide-base too (with a smaller --optim.learning-rate), and --data.source folder
--data.path DIR --data.tiers 1 2 3 your own pictures, which have no tiers. On two CPU cores 18
images a second, 45 minutes; one GPU, two and a half. The run ships as shapes32-inpaint, whose card
says how well it paints.
"""

from glide_jax.config import Data, Diffusion, Optim, Recipe, UNet


def get_config():
    """The recipe."""
    return Recipe(
        name="inpaint_finetune",
        init_from="shapes32",
        model=Diffusion(unet=UNet(inpaint=True)),
        data=Data(tiers=(1, 2, 2, 3, 3)),
        optim=Optim(
            optimizer="muon",
            learning_rate=1e-3,
            warmup_steps=50,
            decay="cosine",
            final_fraction=0.05,
            freeze=("text_encoder/blocks_*", "text_encoder/*_embedding", "text_encoder/final_norm"),
            ema_decays=(0.998,),
        ),
        timestep_sampler="logit_normal",
        logit_normal=(0.5, 1.4),
        caption_dropout=0.1,
        batch_size=16,
        steps=2800,
        log_every=50,
        checkpoint_every=100,
        sample_every=500,
    )
