"""A phone behind adb: transport, facts, the runner, and what is measured with it."""
