"""How the command line looks: progress on stderr, results on stdout."""
