"""Any OpenAI-compatible endpoint: what is sent, what comes back, and who waits when it fails."""
