"""The HTTP layer: routes, bodies, negotiation, answers."""
