"""Metrics of pictures, as numpy functions of their features: float64 inside, plain floats out."""
