"""Which rows are noisy: experts answer each question, a checker compares."""
