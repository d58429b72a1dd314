"""What happened, for people: metrics against the truth, and the HTML report."""
