"""Priors: networks, weights, training, registry, and the denoisers made of them."""
