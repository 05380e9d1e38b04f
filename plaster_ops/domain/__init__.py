"""The nouns of a retrain, without I/O. Standard library only; numpy and scipy only in `compare` and `student`."""
