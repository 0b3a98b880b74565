"""The energy of one inference, from whatever gauge a device lets us read.

readings     what a gauge said, when; rails and batteries read from text    pure
perfetto     the few fields of a perfetto trace that hold energy            pure
calibration  a gauge's unit and sign, found or forced                       pure
refreshes    from polls to a gauge's own refreshes, one value each          pure
estimate     idle and load readings to mJ, an interval and a verdict        pure
power_state  whether a cable feeds the device
sources      what can be polled on this device, and why the rest cannot
recording    a poll loop beside the inferences, on a connection of its own
tracing      perfetto as a source
meter        one measurement: baseline, load, estimate

One rule: a figure is stated with an interval and a reason to believe it, or not at all.
"""
