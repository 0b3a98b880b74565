"""Tables for a terminal and the self-contained HTML report."""
