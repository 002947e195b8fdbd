"""An upsampler of captioned shapes, from 32 to 64 pixels.

    XLA_FLAGS=--xla_force_host_platform_device_count=2 python train.py configs/shapes_upsample.py

1.3 million parameters, made for two CPU cores: it works on blocks of 2x2 pixels, 32 and 16 a side.
As two devices they take an hour, 23 images a second (the median), and the loss ends at 0.00046,
that of the moving average at 0.00027; the run ships as shapes-upsample. The rate is high and the
batch small, for what takes long to learn is to give the noise back exactly. Captions and their
dropout are those of configs/shapes32.py, whose pictures it is to enlarge, and so is the text
encoder, which stays as it is; it sees each tier alike often. Outlines differ a little in those
pictures from the means of blocks that it is trained on; --low-res.blur and --low-res.noise can make
it used to that.
"""

from glide_jax.config import Diffusion, Optim, Recipe, TextEncoder, UNet


def get_config():
    """The recipe."""
    return Recipe(
        name="shapes_upsample",
        model=Diffusion(
            unet=UNet(
                image_size=64,
                model_channels=48,
                channel_mult=(1, 1),
                num_res_blocks=1,
                attention_resolutions=(),
                head_channels=48,
                patch=2,
                norm_groups=8,
                dropout=0.0,
                low_res_size=32,
            ),
            text=TextEncoder(context=32, vocab_size=512, width=128, layers=2, heads=4),
            schedule="linear",
        ),
        optim=Optim(
            optimizer="muon",
            learning_rate=3e-3,
            warmup_steps=50,
            decay="cosine",
            final_fraction=0.05,
            freeze=("text_encoder/blocks_*", "text_encoder/*_embedding", "text_encoder/final_norm"),
            ema_decays=(0.998,),
        ),
        timestep_sampler="logit_normal",
        logit_normal=(0.3, 1.2),
        caption_dropout=0.1,
        text_from="shapes-text",
        batch_size=16,
        steps=4500,
        log_every=50,
        checkpoint_every=100,
        sample_every=500,
    )
