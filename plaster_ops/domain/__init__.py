"""The nouns of a retrain, without I/O. Standard library only; scipy in `student`, numpy and scipy in the scan."""
