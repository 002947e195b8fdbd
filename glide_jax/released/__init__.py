"""The published PyTorch models: their names and layouts in terms of ours."""
