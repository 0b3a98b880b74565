"""Waiting on a socket: with poll(2), for select(2) takes no descriptor beyond 1023."""

from __future__ import annotations

import math
import select
import socket
from typing import NamedTuple


class Ready(NamedTuple):
    """What can be done without waiting; neither once the time is over."""

    to_read: bool
    to_write: bool


def wait_until_ready(
    connection: socket.socket, timeout_s: float, *, to_read: bool = False, to_write: bool = False
) -> Ready:
    """Wait for what is asked for. A connection that broke is ready: using it tells why.

    Raises:
        ValueError: it was closed here.
    """
    waiting = select.poll()
    asked = (select.POLLIN if to_read else 0) | (select.POLLOUT if to_write else 0)
    waiting.register(connection, asked)
    events = sum(event for _, event in waiting.poll(math.ceil(timeout_s * 1e3)))
    broken = bool(events & ~(select.POLLIN | select.POLLOUT))
    return Ready(
        to_read and (broken or bool(events & select.POLLIN)),
        to_write and (broken or bool(events & select.POLLOUT)),
    )
