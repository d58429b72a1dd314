"""Training: a LoRA adapter on the rows that were kept and mended."""
