"""The service ``sync:``: status, lists and files in both directions.

Rule: a request that is too long ends the service before anything is read for it; any other
failure is a FAIL with a sentence, and the service goes on.
Source: AOSP packages/modules/adb/SYNC.TXT, file_sync_protocol.h, daemon/file_sync_service.cpp.
"""

from __future__ import annotations

import contextlib
import posixpath
import stat
import struct
from typing import BinaryIO

from mobilesplit.emulator.adbd import AdbStream, Service
from mobilesplit.emulator.byte_streams import ExactReader
from mobilesplit.emulator.filesystem import (
    MAX_PATH_NBYTES,
    SHELL_UID,
    FileStatus,
    PhoneFilesystem,
)

_REQUEST = struct.Struct("<4sI")
_STATUS_V1 = struct.Struct("<4sIII")
_STATUS_V2 = struct.Struct("<4sIQQIIIIQqqq")
_ENTRY_V1 = struct.Struct("<4sIIII")
_ENTRY_V2 = struct.Struct("<4sIQQIIIIQqqqI")
_SEND_V2 = struct.Struct("<4sII")
_RECEIVE_V2 = struct.Struct("<4sI")
MAX_DATA_NBYTES = 64 * 1024
_MODE_TEXT_NBYTES = 12
"""``,33261`` and the like behind the path of a SEND."""


class _SyncError(Exception):
    """Becomes a FAIL."""


def find_sync_service(filesystem: PhoneFilesystem, name: bytes) -> Service | None:
    """The service for an OPEN of ``name``; None when it is not ``sync:``."""
    if name != b"sync:":
        return None

    async def serve(stream: AdbStream) -> None:
        with contextlib.suppress(EOFError):
            await _SyncSession(filesystem, stream).run()

    return serve


class _SyncSession:
    def __init__(self, filesystem: PhoneFilesystem, stream: AdbStream) -> None:
        self._files = filesystem
        self._stream = stream
        self._reader = ExactReader(stream)

    async def run(self) -> None:
        """Answer requests until QUIT or the end."""
        handlers = {
            b"STAT": self._status_v1,
            b"LSTA": self._status_v1,
            b"STA2": self._status_v2,
            b"LST2": self._status_v2,
            b"LIST": self._list,
            b"LIS2": self._list,
            b"SEND": self._receive_file,
            b"SND2": self._receive_file,
            b"RECV": self._send_file,
            b"RCV2": self._send_file,
        }
        while True:
            kind, path_nbytes = _REQUEST.unpack(await self._reader.exactly(_REQUEST.size))
            if kind == b"QUIT":
                return
            handler = handlers.get(kind)
            if handler is None or path_nbytes > MAX_PATH_NBYTES + _MODE_TEXT_NBYTES:
                why = "path too long" if handler else f"unknown request {kind!r}"
                await self._fail(why)
                return
            path = (await self._reader.exactly(path_nbytes)).decode(errors="surrogateescape")
            try:
                await handler(kind, path)
            except BrokenPipeError:
                raise
            except _SyncError as error:
                await self._fail(str(error))
            except OSError as error:
                await self._fail(error.strerror or str(error))

    async def _fail(self, why: str) -> None:
        text = why.encode(errors="surrogateescape")
        await self._stream.write(_REQUEST.pack(b"FAIL", len(text)) + text)

    def _status(self, path: str) -> tuple[int, FileStatus]:
        """Error number and status; all zero with an error, as adbd says it."""
        try:
            return 0, self._files.status(path)
        except OSError as error:
            return error.errno or 5, FileStatus(0, 0, 0, 0, 0, 0)

    async def _status_v1(self, kind: bytes, path: str) -> None:
        _, found = self._status(path)
        size = min(found.size, 0xFFFFFFFF)
        await self._stream.write(_STATUS_V1.pack(b"STAT", found.mode, size, found.mtime_s))

    async def _status_v2(self, kind: bytes, path: str) -> None:
        error, found = self._status(path)
        await self._stream.write(_STATUS_V2.pack(kind, error, *_status_fields(found)))

    async def _list(self, kind: bytes, path: str) -> None:
        is_v2 = kind == b"LIS2"
        try:
            names = self._files.names(path)
        except OSError:
            names = []
        answer = bytearray()
        for name in names:
            text = name.encode(errors="surrogateescape")
            error, found = self._status(posixpath.join(path, name))
            if is_v2:
                answer += _ENTRY_V2.pack(b"DNT2", error, *_status_fields(found), len(text))
            else:
                size = min(found.size, 0xFFFFFFFF)
                answer += _ENTRY_V1.pack(b"DENT", found.mode, size, found.mtime_s, len(text))
            answer += text
        answer += b"DONE" + bytes((_ENTRY_V2 if is_v2 else _ENTRY_V1).size - 4)
        await self._stream.write(bytes(answer))

    async def _receive_file(self, kind: bytes, spec: str) -> None:
        """SEND and SND2: the host's file becomes ours."""
        if kind == b"SND2":
            _, mode, flags = _SEND_V2.unpack(await self._reader.exactly(_SEND_V2.size))
            path, unusable = spec, "compression was not offered" if flags else ""
        else:
            path, _, text = spec.rpartition(",")
            mode = int(text) if text.isdecimal() else 0o100644
            unusable = "" if path else "SEND without a mode"
        if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
            unusable = "only regular files can be pushed to a virtual phone"
        file: BinaryIO | None = None
        if not unusable:
            try:
                self._files.make_folder(posixpath.dirname(path) or "/", parents=True)
                file = self._files.open_write(path)
            except OSError as error:
                # The host sends on regardless: the answer waits for its DONE.
                unusable = f"{path}: {error.strerror}"
        finished = False
        try:
            mtime_s, write_error = await self._write_data(file, path)
            unusable = unusable or write_error
            finished = not write_error
        finally:
            if file is not None:
                file.close()
                if not finished:
                    self._files.remove(path)
        if unusable:
            raise _SyncError(unusable)
        self._files.change_mode(path, mode)
        self._files.set_mtime(path, mtime_s)
        await self._stream.write(_REQUEST.pack(b"OKAY", 0))

    async def _write_data(self, file: BinaryIO | None, path: str) -> tuple[int, str]:
        """DATA until DONE, written away as it comes; the modification time that DONE carries,
        and what went wrong."""
        write_error = ""
        while True:
            kind, number = _REQUEST.unpack(await self._reader.exactly(_REQUEST.size))
            if kind == b"DONE":
                return int(number), write_error
            if kind != b"DATA" or number > MAX_DATA_NBYTES:
                await self._fail(f"{kind!r} with {number} in the middle of a file")
                raise EOFError
            while number:
                piece = await self._reader.some(number)
                if not piece:
                    raise EOFError
                number -= len(piece)
                if file is None or write_error:
                    continue
                try:
                    self._files.require_space(len(piece), path)
                    file.write(piece)
                    file.flush()
                except OSError as error:
                    write_error = f"write failed: {error.strerror}"

    async def _send_file(self, kind: bytes, path: str) -> None:
        """RECV and RCV2: our file becomes the host's."""
        if kind == b"RCV2":
            _, flags = _RECEIVE_V2.unpack(await self._reader.exactly(_RECEIVE_V2.size))
            if flags:
                raise _SyncError("compression was not offered")
        # As many DATA packets to a message as fit: a message costs a round trip.
        most = max(1, self._stream.max_payload_nbytes // (MAX_DATA_NBYTES + _REQUEST.size))
        piece_nbytes = min(MAX_DATA_NBYTES, self._stream.max_payload_nbytes - _REQUEST.size)
        with self._files.open_read(path) as file:
            pieces: list[bytes] = []
            while data := file.read(piece_nbytes):
                pieces += [_REQUEST.pack(b"DATA", len(data)), data]
                if len(pieces) == 2 * most:
                    await self._stream.write(b"".join(pieces))
                    pieces.clear()
        pieces.append(_REQUEST.pack(b"DONE", 0))
        await self._stream.write(b"".join(pieces))


def _status_fields(found: FileStatus) -> tuple[int, ...]:
    owner = SHELL_UID if found.mode else 0
    return (
        found.device, found.inode, found.mode, found.nlink, owner, owner, found.size,
        found.mtime_s, found.mtime_s, found.mtime_s,
    )  # fmt: skip
