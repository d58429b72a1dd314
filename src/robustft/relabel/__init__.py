"""New responses for noisy rows: neighbours as context, then a reviewer."""
