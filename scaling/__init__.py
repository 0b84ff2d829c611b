"""Predict a training run before you pay for it, and prove afterwards that you did."""
