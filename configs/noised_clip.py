"""The published noised CLIP, a ViT-B/4 at 64 pixels, on your own captioned pictures.

    python train.py configs/noised_clip.py --data.path DIR

158 million parameters: an image tower of 12 blocks of width 768 over 256 patches, and a causal text
tower of 12 blocks of width 512. It guides the base model, and the noise is that model's. Captions
are cleaned as CLIP's are, which takes pip install '.[clip]'; the tokens are learned from your own.
--init-from glide-clip goes on from the published weights instead, with their own tokenizer.

Made for large GPUs or TPUs, where it has not been run: neither its speed, nor its memory, nor how
far a data set takes it has been measured. The optimizer's numbers are an ordinary ViT-B CLIP's
(arXiv 2103.00020, appendix F), for a smaller batch, places to start. More pictures a step mean more
captions to tell apart, and more devices make room for them: --optim.accumulate would not.
"""

from glide_jax.config import Clip, Data, Optim, Recipe


def get_config():
    """The recipe; --data.path says where the pictures are."""
    return Recipe(
        name="noised_clip",
        model=Clip(),
        data=Data(source="folder"),
        optim=Optim(
            learning_rate=5e-4,
            warmup_steps=2000,
            decay="cosine",
            beta2=0.98,
            weight_decay=0.2,
            no_weight_decay=("*_embedding",),
        ),
        batch_size=2048,
        steps=200_000,
        log_every=50,
        checkpoint_every=1000,
        sample_every=5000,
    )
