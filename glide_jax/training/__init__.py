"""Training: what is trained, one step of it, and the loop around it."""
