"""Configs to begin with, as `robustft init` writes them: every key, a few to fill in, or guessed from a file."""
