"""What leads pictures to their captions and which are kept, as the command lines say it."""

from dataclasses import dataclass
from typing import Literal

from glide_jax import cli

# Where no other CLIP is named: one guides, the other, which knows clean pictures better, ranks.
CLIP, RANKER = "shapes-clip", "shapes-clip-clean"


@dataclass(frozen=True)
class Guided(cli.Sampling):
    """How a model is sampled, and what a CLIP has to do with it."""

    guide: Literal["cfg", "clip", "both", "none"] | None = None
    """What leads to the captions: cfg, classifier-free guidance, by --guidance-scale; clip, a CLIP,
    by --clip-scale; both; or none. By default cfg, and both where there is a --clip-model."""
    clip_model: str | None = None
    """The CLIP that guides, noised or ordinary: a shipped or a published one's name, a model folder
    or a training run; by default shapes-clip."""
    clip_scale: float = 3.0
    """How far the CLIP leads; 0 is not at all."""
    rerank_from: int | None = None
    """Pictures drawn for a caption, of which those are kept that a CLIP likes best; of a picture
    with a --mask or --edits, by the part around what is drawn anew."""
    rerank_model: str | None = None
    """The CLIP that likes them, which need not be the one that guides; by default
    shapes-clip-clean."""

    def __post_init__(self):
        if self.guiding_model is None:
            for name in ("clip_model", "clip_scale"):
                self._refuse(name, "no CLIP guides: say --guide clip or both")
        if not self.is_classifier_free:
            for name in ("guidance_scale", "guidance_interval", "negative_prompt"):
                self._refuse(name, f"--guide is {self.guide!r}: say --guide cfg or both")
        if self.rerank_from is not None and self.rerank_from < 1:
            raise ValueError(f"--rerank-from is {self.rerank_from}; it must be 1 or more")
        if self.rerank_from is None:
            self._refuse("rerank_model", "there is nothing to rank: give --rerank-from")

    def _refuse(self, name, why):
        """Raises a ValueError where an option is given that nothing has a use for."""
        value = getattr(self, name)
        if value != getattr(Guided, name):
            raise ValueError(f"--{name.replace('_', '-')} is {value!r}, but {why}, or leave it out")

    @property
    def guides(self):
        """What leads: cfg, clip, both or none."""
        return self.guide or ("cfg" if self.clip_model is None else "both")

    @property
    def is_classifier_free(self):
        """Whether classifier-free guidance leads."""
        return self.guides in ("cfg", "both")

    @property
    def guiding_model(self):
        """The name or folder of the CLIP that guides, or None."""
        return (self.clip_model or CLIP) if self.guides in ("clip", "both") else None

    @property
    def ranking_model(self):
        """The name or folder of the CLIP that ranks, or None."""
        return None if self.rerank_from is None else self.rerank_model or RANKER

    def settings(self, default_steps=100):
        """As `cli.Sampling.settings`; at scale 1 no branch is computed that guidance leads from."""
        own = super().settings(default_steps)
        return own if self.is_classifier_free else own | {"guidance_scale": 1.0}

    def judges(self, load):
        """(the CLIP that guides, the one that ranks), each None where there is none.

        Args:
            load: makes a `NoisedClip` of a name or a folder; it does so once if both are the same.
        """
        names = self.guiding_model, self.ranking_model
        loaded = {name: load(name) for name in dict.fromkeys(names) if name is not None}
        return tuple(loaded.get(name) for name in names)

    def told(self):
        """What is kept of it beside `settings`: nothing where no CLIP had a part."""
        told = {}
        if self.guiding_model is not None:
            told |= {"clip": self.guiding_model, "clip_guidance_scale": self.clip_scale}
        if self.ranking_model is not None:
            told |= {"rerank_from": self.rerank_from, "rerank_model": self.ranking_model}
        return told
