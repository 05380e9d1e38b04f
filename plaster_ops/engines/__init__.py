"""Optimised engines: a model is exported once, built by one backend into a folder, checked, and loaded from disk.

Not in this room: the choice among candidates by measurement (`flow`), scores (`flow`), and every number of the card.
`registry`, `artifact` and `ladder` load no torch, so that the parent process may import them.
"""
