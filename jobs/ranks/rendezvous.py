"""How the ranks of a lane connect: rank 0 has an authenticated connection to each of the others.

The messages that they send are those of `jobs.ranks.control_channel`.
"""

import contextlib
import json
import os
import secrets
import socket
import struct
import time
from multiprocessing import AuthenticationError
from multiprocessing.connection import Connection, answer_challenge, deliver_challenge
from pathlib import Path
from typing import Any

from jobs.contract.atomic_write import open_atomically
from jobs.ranks.group import RendezvousError
from jobs.ranks.launch import Launch, Rendezvous

Connections = dict[int, "Connection[Any, Any]"]

_CALLED_OFF = "called_off"
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_LOOK_EVERY_S = 0.05
_HANDSHAKE_S = 10  # whoever does not prove in this time that it has the key is dropped
# A host that is switched off says nothing: noticed after a minute of silence of its kernel.
_KEEPALIVE = (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3))


def connect(launch: Launch, where: Rendezvous) -> Connections:
    """Return connections to the other ranks: rank 0 has one to each, the others one to rank 0.

    Raises RendezvousError.
    """
    return {0: _connect_to_rank_0(launch, where)} if launch.rank else _accept_ranks(launch, where)


def call_off(file: Path, why: str) -> None:
    """Tell the ranks that wait for rank 0, by the file to meet by, that it does not come."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with open_atomically(file, mode=0o600) as written:
        written.write(json.dumps({_CALLED_OFF: why}).encode())


def listen(host: str) -> socket.socket:
    """Listen at a free port: to this host alone if `host` is a loopback, else to all."""
    return socket.create_server((host if host in _LOOPBACK else "", 0), backlog=1024)


def _accept_ranks(launch: Launch, where: Rendezvous) -> Connections:
    deadline = time.monotonic() + where.timeout_s
    try:
        server = listen(where.host)
    except OSError as error:
        raise RendezvousError(f"rank 0 cannot listen at {where.host}: {error}") from error
    port, key = server.getsockname()[1], secrets.token_hex(32)
    with server:
        where.file.parent.mkdir(parents=True, exist_ok=True)
        with open_atomically(where.file, mode=0o600) as file:  # the key is for this user alone
            file.write(json.dumps({"host": where.host, "port": port, "key": key}).encode())
        try:
            connections = _accept_until(deadline, server, launch.world_size - 1, key.encode())
        finally:
            where.file.unlink(missing_ok=True)
    absent = [str(rank) for rank in range(1, launch.world_size) if rank not in connections]
    if absent:
        raise RendezvousError(
            f"rank 0 has waited at {where.host}:{port} for {where.timeout_s:.0f} s, and "
            f"rank{'s' * (len(absent) > 1)} {', '.join(absent)} of {launch.world_size} did not "
            f"come: look into what they have printed, and whether their hosts reach {where.host}"
        )
    return connections


def _accept_until(deadline: float, server: socket.socket, ranks: int, key: bytes) -> Connections:
    """Return connections to those of the other `ranks` that have come by the deadline."""
    connections: Connections = {}
    while len(connections) < ranks:
        server.settimeout(max(0.0, deadline - time.monotonic()) or 1e-3)
        try:
            connected, _ = server.accept()
        except TimeoutError:
            break
        with contextlib.suppress(OSError, EOFError, ValueError, AuthenticationError):
            connection = _connection(connected)
            deliver_challenge(connection, key)
            answer_challenge(connection, key)
            rank = json.loads(connection.recv_bytes(64))
            _lift_time_limit(connection)
            connections[int(rank)] = connection
    return connections


def _connect_to_rank_0(launch: Launch, where: Rendezvous) -> "Connection[Any, Any]":
    deadline = time.monotonic() + where.timeout_s
    host, port, key = _wait_for_address(where, launch.rank, deadline)
    while True:
        try:
            left = max(1.0, deadline - time.monotonic())
            connection = _connection(socket.create_connection((host, port), timeout=left))
            answer_challenge(connection, key.encode())
            deliver_challenge(connection, key.encode())
            connection.send_bytes(json.dumps(launch.rank).encode())
            _lift_time_limit(connection)
        except (OSError, EOFError, AuthenticationError) as error:
            if time.monotonic() < deadline:
                time.sleep(_LOOK_EVERY_S)
                continue
            raise RendezvousError(
                f"rank {launch.rank} has not reached rank 0 at {host}:{port} within "
                f"{where.timeout_s:.0f} s ({error}): does the name {host} resolve on "
                f"{socket.gethostname()}, and may it be reached from there?"
            ) from error
        return connection


def _connection(connected: socket.socket) -> "Connection[Any, Any]":
    """Wrap a socket, with a time limit for the handshake."""
    connected.settimeout(None)
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", _HANDSHAKE_S, 0))
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE:
        if hasattr(socket, name):
            connected.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return Connection(connected.detach())


def _lift_time_limit(connection: "Connection[Any, Any]") -> None:
    """Let a connection be silent from now on: a training may be so for long."""
    with socket.socket(fileno=os.dup(connection.fileno())) as same:
        same.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 0, 0))


def _wait_for_address(where: Rendezvous, rank: int, deadline: float) -> tuple[str, int, str]:
    """Return host, port and key from the file that rank 0 writes."""
    while True:
        try:
            address = json.loads(where.file.read_text())
            if _CALLED_OFF in address:
                raise RendezvousError(f"rank 0 does not come: {address[_CALLED_OFF]}")
            return address["host"], address["port"], address["key"]
        except (FileNotFoundError, ValueError):
            if time.monotonic() >= deadline:
                raise RendezvousError(
                    f"rank {rank} has waited {where.timeout_s:.0f} s for {where.file}, which rank "
                    f"0 writes: it has not started, or {socket.gethostname()} does not see the "
                    "folder"
                ) from None
            time.sleep(_LOOK_EVERY_S)
            with contextlib.suppress(OSError):
                list(where.file.parent.iterdir())  # a network mount looks again
