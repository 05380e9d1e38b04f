"""Telling people: where alerts go, how each kind of target is spoken to, and that what waits is sent.

An address is a secret as a whole: it is read from the environment where it is used, and no error, log line or row ever
holds it or what a library says of it.
"""
