"""Training: augmentation, the two-phase fit, cross-validation, and the bundle that comes out."""
