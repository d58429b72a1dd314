"""What a run will take: calls, tokens, time, money and disk, from a pilot of a few rows."""
