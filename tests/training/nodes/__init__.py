"""Mirrors `plaster_ops/training/nodes`."""
