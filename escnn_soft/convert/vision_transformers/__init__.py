"""Vision transformers: where they keep positions, found by structure."""
