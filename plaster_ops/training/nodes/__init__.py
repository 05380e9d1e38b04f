"""One fit on several nodes: the board by which they know of each other, the node that leads, and those that follow."""
