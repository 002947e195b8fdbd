"""The CLIP that ships as `shapes-clip`: of Shapes at 32 pixels, noised, so it can guide `shapes32`.

    python train.py configs/shapes_clip.py

The noise is that of `shapes32`, for a CLIP guides a model whose pictures have the noise that it was
trained on. 1.6 million parameters; 30 to 40 images a second on one CPU core beside other work, so
under an hour. Expect a loss of 2.2 (1.1 in the quarter of least noise, 4.3 in that of most), and of
256 captions a clean picture's own first in 45 % (measured at the end of the shipped model's run).
"""

from glide_jax.config import Clip, ClipImage, Optim, Recipe, TextEncoder


def get_config():
    """The recipe."""
    return Recipe(
        name="shapes_clip",
        model=Clip(
            image=ClipImage(image_size=32, patch=4, width=128, layers=4, heads=4),
            text=TextEncoder(context=32, vocab_size=512, width=128, layers=3, heads=4),
            embedding=128,
        ),
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
        steps=700,
        log_every=50,
        checkpoint_every=100,
        sample_every=100,
        keep_best="eval_loss",
    )
