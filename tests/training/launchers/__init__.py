"""Mirrors `plaster_ops/training/launchers`."""
