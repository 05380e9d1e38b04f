"""How the ranks of one attempt are started: one file a launcher, the seam between them and the fit, and their names."""
