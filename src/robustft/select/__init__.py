"""Which relabelled rows are sure enough to train on."""
