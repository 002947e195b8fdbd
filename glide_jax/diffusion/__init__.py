"""Diffusion: schedules, the Gaussian process, losses, samplers and guidance. Knows no network."""
