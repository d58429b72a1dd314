"""Transformers in this process: weights found and converted, requests batched by length, answers drawn or scored."""
