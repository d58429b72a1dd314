"""Files in, files out: reading rows, planting noise, writing training sets."""
