"""The scheduler's house: what is due when, kept apart from what a retrain does.

Empty in this release: `plaster-ops retrain` is run by cron or by hand, and the settings under `cadence` are read and
checked but not acted on.
"""
