"""Models: endpoints, transformers in process, the scripted model, embeddings, and the ledger of finished calls."""
