"""What all chapters of the reference server share: its limits and what it keeps."""

from __future__ import annotations

import socket
import threading

from support.reference_server.connection import Connection
from support.reference_server.records import Account, Message, Room, Upload


class State:
    """The attributes of the server. Every method below `handle` runs under `self.lock`."""

    BURST, RATE = 100, 20.0
    LOGIN_SECONDS = FRAME_SECONDS = STALL_SECONDS = 30.0
    TRANSACTION_SECONDS = 60.0
    PRESENCE_SECONDS = 5.0
    MAX_WAITING = 1_048_576
    MOST_OPEN, MOST_DOWNLOADS = 64, 16
    NOT_RATE_LIMITED = ("character_count", "confirm_count", "ack", "file_send_data", "ping")

    def __init__(self, port: int = 0) -> None:
        self.listener = socket.create_server(("127.0.0.1", port), backlog=128)
        self.listener.settimeout(0.25)
        self.port: int = self.listener.getsockname()[1]
        self.lock = threading.RLock()
        self.stopping = threading.Event()
        self.connections: set[Connection] = set()
        self.accounts: dict[str, Account] = {}
        self.rooms: dict[str, Room] = {"lobby": Room("lobby", "lobby", None, "")}
        self.messages: dict[str, Message] = {}
        self.kept_keys: dict[tuple[str, str], Message] = {}
        self.uploads: dict[tuple[str, str, str], Upload] = {}
        self.upload_keys: dict[tuple[str, str], Upload] = {}
        self.told_presence: dict[str, tuple[bool, float]] = {}
        """By name: whether it was told to be on, and when."""
        self.timers: list[threading.Timer] = []
        self.tokens: dict[str, tuple[float, float]] = {}
        """By name: how many requests are left, and since when."""
        self.failures: dict[tuple[str, str], list[float]] = {}
        self.last_message_id = 0
