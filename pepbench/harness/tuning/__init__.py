"""Hyper-parameter tuning of one cell with Optuna."""
