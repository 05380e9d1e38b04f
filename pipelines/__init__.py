"""The first users of plaster-ops. Nothing here uses what any other user cannot."""
