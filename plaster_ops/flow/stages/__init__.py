"""The stages of a retrain, as children run them: one module a stage, each with `run(spec, folder, emit)`.

Imported by name in the child only, so that a stage loads no more than it needs.
"""
