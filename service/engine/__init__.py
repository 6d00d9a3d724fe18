"""Engines: where restorations run."""
