"""The shipped model: captioned shapes at 32 pixels.

    XLA_FLAGS=--xla_force_host_platform_device_count=2 python train.py configs/shapes32.py

Two CPU cores, as two devices: 17 to 33 images a second, so two to four hours; one GPU, six minutes.
The model that ships as shapes32 is this run, from its start to its end: it follows 88 % of
captions, and 85 % of those with pairs of colour and shape that it never saw (its card says how it
was run). It begins with a text encoder that knows which words belong together and leaves it so;
timesteps are drawn where there is much noise, and scenes of one object, which are soon learned,
less often than counted ones, which are learned last. A tenth of the captions is emptied rather than
GLIDE's fifth, for a run as short as this one sees few. Small batches at a high rate put pairs
together that training never shows; half as many steps of twice the pictures do not.
"""

from glide_jax.config import Data, Diffusion, Optim, Recipe, TextEncoder, UNet


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
        data=Data(tiers=(1, 2, 2, 3, 3, 3)),
        optim=Optim(
            optimizer="muon",
            learning_rate=1.7e-3,
            warmup_steps=100,
            decay="cosine",
            final_fraction=0.02,
            freeze=("text_encoder/blocks_*", "text_encoder/*_embedding", "text_encoder/final_norm"),
            ema_decays=(0.998,),
        ),
        timestep_sampler="logit_normal",
        logit_normal=(1.0, 1.4),
        caption_dropout=0.1,
        text_from="shapes-text",
        batch_size=16,
        steps=16000,
        log_every=50,
        checkpoint_every=200,
        sample_every=1000,
    )
