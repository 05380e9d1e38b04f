"""Worker processes: started, watched, and never left behind. Standard library only."""
