"""What a model can do, found out with a few tiny requests before a run spends money on it."""
