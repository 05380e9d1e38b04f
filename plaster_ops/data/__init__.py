"""Where data arrives and how it is cut into windows. Knows positions and counts, never models."""
