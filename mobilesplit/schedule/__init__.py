"""Cost model, planner, link estimator. Pure: time and randomness are arguments."""
