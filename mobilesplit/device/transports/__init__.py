"""Ways to a device: adb-shell over TCP or USB, or through an adb server. All give the same."""
