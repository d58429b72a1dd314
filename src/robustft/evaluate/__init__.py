"""Evaluation: how often a model is right on rows that were held out, before and after training."""
