"""The Audited Model: its network, its loss, its exposures and its training."""
