"""CLIP score: how well pictures fit their captions."""

import numpy as np

from glide_jax.evaluation.metrics.samples import checked_pair


def clip_score(images, texts) -> float:
    """The mean cosine of pictures and their own captions, -1 to 1; see `cosines`.

    It is neither multiplied by 100 nor by the CLIP's logit scale, and values below 0 stay:
    CLIPScore (arXiv 2104.08718) is 2.5 times the positive part of each cosine.
    """
    return float(cosines(images, texts).mean())


def cosines(images, texts):
    """The cosine of each picture and its caption, float64 [N].

    Args:
        images: [N, D], the pictures' embeddings, of any length.
        texts: [N, D], the embeddings of their captions, by the same CLIP.

    Raises:
        ValueError: their shapes differ, or a vector has no direction.
    """
    images, texts = (each.astype(np.float64) for each in checked_pair(images, texts, least=1))
    if len(images) != len(texts):
        raise ValueError(f"there are {len(images)} pictures and {len(texts)} captions; give pairs")
    lengths = np.linalg.norm(images, axis=1) * np.linalg.norm(texts, axis=1)
    if not lengths.all():
        raise ValueError("an embedding is zero and has no direction; look for broken weights")
    return np.einsum("nd,nd->n", images, texts) / lengths
