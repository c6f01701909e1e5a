"""Gradients, optimisers, the training loop and its metrics."""
