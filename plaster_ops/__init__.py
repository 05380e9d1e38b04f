"""plaster-ops: retrain, re-optimise, re-measure, compare, remember. See README.md."""

__version__ = "0.1.0"
