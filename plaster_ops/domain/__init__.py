"""The nouns of a retrain, without I/O. Standard library only; scipy only in `student`."""
