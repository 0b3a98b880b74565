"""Frames, messages and codecs. Pure, sans-I/O: bytes in, values out."""
