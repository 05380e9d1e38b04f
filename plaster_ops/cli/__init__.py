"""Commands: options in, exit codes out. Nothing heavy is imported before a command needs it."""
