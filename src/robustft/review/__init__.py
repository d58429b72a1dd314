"""A person looks at rows: the page that shows them, the verdicts, and what a run makes of these."""
