"""Gradients, optimizers, the training loop and its metrics."""
