"""What `init` finds out about a stranger's module and data, by trying. Imported in workers only: it runs user code."""
