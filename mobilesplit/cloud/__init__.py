"""The websocket server that runs tails."""
