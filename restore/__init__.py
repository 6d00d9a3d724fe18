"""Restore photographs with a diffusion prior: image in, image out."""
