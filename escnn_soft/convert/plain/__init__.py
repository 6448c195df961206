"""Plain torch models: which weights need a dial, and putting dials on and taking them off."""
