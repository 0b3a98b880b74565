"""mobilesplit cuts a PyTorch model between an Android phone and the cloud.

Importing this package loads none of its parts (and no torch): import the part you need,
for example ``mobilesplit.schedule.planner`` or ``mobilesplit.segment.trace``.
"""

__version__ = "0.1.0"
