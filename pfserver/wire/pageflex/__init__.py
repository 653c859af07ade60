"""The Pageflex Server socket API as values: packets and commands one way, reply and monitor lines the other.

Both sides of it: a server reads packets with :class:`PacketReader` and writes lines with :func:`reply_line` and
:func:`monitor_line`; a client writes packets with :func:`write_packet` and reads lines with :class:`LineReader`.
"""

from pfserver.wire.pageflex.commands import (
    CancelJob,
    Command,
    GetBuildString,
    GetJobQueueLen,
    GetJobStatus,
    GetTaskLog,
    RestartServer,
    SubmitJob,
    command_of,
    response_encoding,
)
from pfserver.wire.pageflex.errors import LineError, PacketError
from pfserver.wire.pageflex.lines import Line, LineReader, monitor_line, reply_line
from pfserver.wire.pageflex.packet import Limits, Packet
from pfserver.wire.pageflex.reader import PacketReader
from pfserver.wire.pageflex.writer import write_packet

__all__ = [
    "CancelJob",
    "Command",
    "GetBuildString",
    "GetJobQueueLen",
    "GetJobStatus",
    "GetTaskLog",
    "Limits",
    "Line",
    "LineError",
    "LineReader",
    "Packet",
    "PacketError",
    "PacketReader",
    "RestartServer",
    "SubmitJob",
    "command_of",
    "monitor_line",
    "reply_line",
    "response_encoding",
    "write_packet",
]
