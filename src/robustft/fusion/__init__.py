"""How likely each candidate answer of a row is the true one: pure functions of arrays."""
