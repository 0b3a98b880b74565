"""From a serial to a connected device: which way there is to it.

Rule: a serial that a running adb server knows goes through that server; an address goes over TCP;
anything else is a phone on a cable, over USB, or through an adb server that is started for it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from mobilesplit.core.errors import DeviceError, UsbUnusableError
from mobilesplit.device.adb_keys import load_signers
from mobilesplit.device.causes import NEXT_STEPS, find_cause
from mobilesplit.device.deadline import Deadline
from mobilesplit.device.device import Device
from mobilesplit.device.transports.adb_server import (
    AdbServer,
    Listed,
    ServerTransport,
    start_server,
)
from mobilesplit.device.transports.direct import DirectTransport
from mobilesplit.device.transports.tcp_link import TcpLink
from mobilesplit.device.transports.usb import find_usb_links

DEFAULT_PORT = 5555
USABLE = "device"
"""The state that adb gives a device that answers."""
_IPV4 = re.compile(r"(\d{1,3}\.){3}\d{1,3}")


def connect(
    serial: str,
    *,
    timeout_s: float = 10.0,
    key_folder: Path | None = None,
    start: Callable[[], AdbServer] = start_server,
) -> Device:
    """Connect to the device that adb calls ``serial``: one of `adb devices`, one on a cable, or
    ``HOST:PORT`` (an IP address alone: port 5555), with the keys in ``key_folder`` (None: where adb
    keeps them). ``start`` starts an adb server where nothing else leads to the device.

    Raises:
        DeviceError: there is no such device, it speaks no adb, or it does not accept the key.
        UsageError: the environment names an adb server that cannot be.
    """
    is_address = ":" in serial or _IPV4.fullmatch(serial) is not None
    server = AdbServer.running()
    try:
        listed = _find(server, serial)
    except DeviceError:
        if not is_address:
            raise
        listed = None  # whatever listens where the server should: an address needs none
    if server is not None and listed is not None and listed.state == USABLE:
        return Device(ServerTransport(serial, server))
    if is_address:
        return _over_tcp(serial, timeout_s, key_folder)
    if listed is not None:
        raise unusable(listed)
    if server is None:
        return _on_a_cable(serial, timeout_s, key_folder, start)
    raise _unknown(serial, server)


def unusable(listed: Listed) -> DeviceError:
    """Why a device that an adb server lists cannot be used, and what mends that."""
    cause = find_cause(f"device {listed.state}", None)
    return DeviceError(
        f"the adb server shows it as {listed.state}.",
        serial=listed.serial,
        cause=cause,
        next_step=NEXT_STEPS[cause or "offline"],
    )


def _find(server: AdbServer | None, serial: str) -> Listed | None:
    if server is None:
        return None
    return next((item for item in server.devices() if item.serial == serial), None)


def _over_tcp(serial: str, timeout_s: float, key_folder: Path | None) -> Device:
    host, _, port = serial.rpartition(":") if ":" in serial else (serial, "", str(DEFAULT_PORT))
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise DeviceError(
            f"{serial!r} is not HOST:PORT.",
            next_step="Give the address that `mobilesplit devices` shows.",
        )
    deadline = Deadline(timeout_s)
    link = TcpLink(host.strip("[]"), int(port), deadline)
    signers = load_signers(key_folder)
    return Device(DirectTransport.connect(serial, "tcp", link, signers, deadline))


def _on_a_cable(
    serial: str, timeout_s: float, key_folder: Path | None, start: Callable[[], AdbServer]
) -> Device:
    """Over USB where libusb is there and sees the phone, else through an adb server started now."""
    deadline = Deadline(timeout_s)
    try:
        link = find_usb_links(deadline).get(serial)
    except UsbUnusableError:
        link = None
    if link is not None:
        signers = load_signers(key_folder)
        try:
            return Device(DirectTransport.connect(serial, "usb", link, signers, deadline))
        except DeviceError as error:
            error.serial = error.serial or serial
            raise
    server = start()
    listed = _find(server, serial)
    if listed is None:
        raise _unknown(serial, server)
    if listed.state != USABLE:
        raise unusable(listed)
    return Device(ServerTransport(serial, server))


def _unknown(serial: str, server: AdbServer) -> DeviceError:
    known = ", ".join(f"{item.serial} ({item.state})" for item in server.devices()) or "none"
    return DeviceError(
        f"no device has this serial; the adb server knows: {known}.",
        serial=serial,
        cause="not_found",
        next_step=NEXT_STEPS["not_found"],
    )
