"""A split job end to end: head on the device, boundary over the link, tail in the cloud."""
