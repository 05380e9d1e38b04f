"""The seven letters: one file each, and the harness that collects their evidence.

Two halves that never mix. *Collecting* (`collect`, `timing`, `load`, `search`, `power`) runs inside a fresh measuring
process that holds engines and no user code. *Reading* (`latency`, `throughput`, `energy`, `size`, `programmability`,
`learning`, and `accuracy.read`) runs in the parent, loads no torch and turns evidence into rows of the card.
"""
