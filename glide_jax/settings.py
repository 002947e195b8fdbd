"""How pictures are sampled: the settings, checked, and the run that they ask for."""

from typing import NamedTuple

import numpy as np

from glide_jax import config
from glide_jax.diffusion.respacing import log_snr_timesteps, spaced_timesteps
from glide_jax.diffusion.schedule import make_schedule, respace
from glide_jax.diffusion.trajectory import (
    inversion_trajectory,
    resampling_trajectory,
    reverse_trajectory,
)

SAMPLERS = ("ancestral", "ddim", "dpmpp")
# How known pixels are kept: by a model that sees them, or put back after each step of any model,
# once or with resampling.
INPAINT_METHODS = ("model", "replace", "repaint")
STEPS = 100  # of GLIDE's base model as published, and so of what was not measured
STEPS_OF_SMALL = 27  # at 32 pixels as good as any more (docs/evaluation.md)
# Of upsamplers up to 64 pixels; from more noise short trainings lose the colours of the given
# picture (docs/evaluation.md).
STRENGTH_OF_SMALL = 0.3
# The share of the timesteps at which a CLIP leads `ddim` and `dpmpp`. Later ones have next to no
# picture, of which a CLIP knows nothing (docs/evaluation.md), and there these samplers' x_0 moves
# by (1 - alphas_cumprod) / sqrt(alphas_cumprod) of its gradient: without bound as noise takes all.
CLIP_LEADS = 0.9


class Settings(NamedTuple):
    """How pictures are sampled; see the methods of `Pipeline`."""

    guidance_scale: float = 3.0
    guidance_interval: tuple[int, int] | None = None
    dynamic_threshold: float | None = None
    sampler: str = "ancestral"
    steps: int | str = STEPS
    eta: float = 0.0
    noise_scale: float = 1.0
    clip_guidance_scale: float = 0.0
    inpaint_method: str | None = None  # None where no pixels are known
    jump_length: int = 5
    resamplings: int = 5
    strength: float = 1.0  # which part of the noise a run begins from

    def check(self):
        """Raises a ValueError that names the first one that is not allowed, and what is."""
        for name in ("guidance_scale", "noise_scale", "clip_guidance_scale"):
            value = getattr(self, name)
            if not np.isfinite(value):
                raise ValueError(f"{name} is {value}; it must be a finite number")
            if abs(value) > (most := float(np.finfo(np.float32).max)):
                raise ValueError(f"{name} is {value}; it must be from -{most:.3g} to {most:.3g}")
        if self.guidance_interval is not None:
            low, high = self.guidance_interval
            if not 0 <= low <= high:
                raise ValueError(
                    f"guidance_interval is {low} to {high}; it must be from one timestep, 0 or "
                    "more, to the same or a later one"
                )
        if self.dynamic_threshold is not None and not 0 < self.dynamic_threshold <= 1:
            raise ValueError(
                f"dynamic_threshold is {self.dynamic_threshold}; it must be above 0 and at most 1"
            )
        if self.sampler not in SAMPLERS:
            allowed = ", ".join(SAMPLERS)
            raise ValueError(f"sampler is {self.sampler!r}; it must be one of {allowed}")
        if not 0 <= self.eta <= 1:
            raise ValueError(f"eta is {self.eta}; it must be from 0 to 1")
        if self.inpaint_method not in (None, *INPAINT_METHODS):
            allowed = ", ".join(INPAINT_METHODS)
            raise ValueError(f"method is {self.inpaint_method!r}; it must be one of {allowed}")
        if not 0 < self.strength <= 1:
            raise ValueError(f"strength is {self.strength}; it must be above 0 and at most 1")

    def trajectory(self, model: config.Diffusion):
        """The steps of a run; a ValueError for steps that are no such thing."""
        schedule = make_schedule(model.schedule, model.timesteps)
        if self.sampler != "dpmpp":
            timesteps = spaced_timesteps(model.timesteps, self.steps)
        elif str(self.steps).isdecimal():
            timesteps = log_snr_timesteps(schedule, int(self.steps))
        else:
            raise ValueError(f"steps is {self.steps!r}; for dpmpp it must be a number")
        kept = timesteps[timesteps < self.strength * model.timesteps]
        if len(kept) == 0:
            raise ValueError(
                f"strength is {self.strength}, which leaves none of the {len(timesteps)} steps: "
                "give a larger one, or more steps"
            )
        schedule = respace(schedule, kept)
        if self.inpaint_method == "repaint":
            return resampling_trajectory(schedule, self.jump_length, self.resamplings)
        return reverse_trajectory(schedule)

    def inversion(self, model: config.Diffusion):
        """The steps from a picture up to where the `trajectory` begins."""
        schedule = make_schedule(model.schedule, model.timesteps)
        timesteps = self._replace(inpaint_method=None).trajectory(model).t
        return inversion_trajectory(respace(schedule, timesteps))

    def guides_at(self, t):
        """Whether a step at timestep t computes the branch that guidance leads away from."""
        low, high = self.guidance_interval or (t, t)
        return bool(self.guidance_scale != 1 and low <= t <= high)

    def clip_guides_at(self, t, timesteps):
        """Whether a CLIP leads a step at timestep t of those of the model."""
        everywhere = self.sampler == "ancestral"
        return bool(self.clip_guidance_scale and (everywhere or t < CLIP_LEADS * timesteps))

    def traced(self):
        """The numbers among them as arrays; what is None compiles to a smaller program."""
        threshold = self.dynamic_threshold
        return Traced(
            np.float32(self.guidance_scale),
            np.float32(self.eta) if self.sampler == "ddim" and self.eta else None,
            None if threshold is None else np.float32(threshold),
            np.float32(self.clip_guidance_scale) if self.clip_guidance_scale else None,
        )


def default_steps(model: config.Diffusion) -> int:
    """How many steps draw a picture from its caption where nobody says how many."""
    return STEPS_OF_SMALL if model.unet.image_size <= 32 else STEPS


def default_strength(model: config.Diffusion) -> float:
    """Which part of the noise an upsampler begins from where nobody says it."""
    return STRENGTH_OF_SMALL if model.unet.image_size <= 64 else 1.0


class Traced(NamedTuple):
    """The numbers of Settings that do not change the program."""

    scale: np.float32
    eta: np.float32 | None
    threshold: np.float32 | None
    clip_scale: np.float32 | None


UNGUIDED = Traced(np.float32(1), None, None, None)
