"""The same requests as files: gathered while their callers wait, carried as batches, joined again by name."""
