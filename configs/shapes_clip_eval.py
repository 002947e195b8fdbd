"""The CLIP that ships as `shapes-clip-eval`: of clean pictures; it judges and guides none.

    python train.py configs/shapes_clip_eval.py

A model that was guided by a CLIP draws what that CLIP likes, so another one has to judge: this one
has another width, and another seed of its weights, its noise and its examples, than
configs/shapes_clip.py. 0.9 million parameters; 25 to 45 images a second on one CPU core beside much
other work, so half an hour. Expect a loss of 0.7, and of 256 captions a picture's own first in 55
to 60 % (measured at the end of the shipped model's run).
"""

from glide_jax.config import Clip, ClipImage, Data, Optim, Recipe, TextEncoder


def get_config():
    """The recipe."""
    return Recipe(
        name="shapes_clip_eval",
        model=Clip(
            image=ClipImage(image_size=32, patch=4, width=96, layers=4, heads=3),
            text=TextEncoder(context=32, vocab_size=512, width=96, layers=3, heads=3),
            embedding=96,
            timesteps=0,
        ),
        data=Data(seed=1),
        optim=Optim(
            optimizer="muon",
            learning_rate=2e-3,
            warmup_steps=50,
            decay="cosine",
            final_fraction=0.05,
            beta2=0.98,
            weight_decay=0.1,
            no_weight_decay=("*_embedding",),
            ema_decays=(0.998,),
        ),
        batch_size=128,
        steps=400,
        seed=1,
        log_every=50,
        checkpoint_every=100,
        sample_every=100,
    )
