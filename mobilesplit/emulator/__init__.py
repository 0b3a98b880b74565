"""The virtual phone (device side of adb) and the link shaper."""
