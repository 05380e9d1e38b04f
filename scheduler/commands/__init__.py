"""The commands below `plaster-ops schedule`, one file each."""
