"""What all tests of the conformance kit need."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.relays import Listener, RelayUnderTest, relay_before


@pytest.fixture(scope="session", autouse=True)
def support_can_be_imported() -> Iterator[None]:
    """Let what the kit starts (`python -m support.planted_faults`) find `support`, as pytest does.

    For the whole session, since runs go on in threads between two tests.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[1]))
        yield


@pytest.fixture
def listener() -> Iterator[Listener]:
    """A server that the relay's tests play."""
    server = Listener()
    yield server
    server.close()


@pytest.fixture
def relay(listener: Listener) -> Iterator[RelayUnderTest]:
    """A relay before it, without faults."""
    with relay_before(listener.port) as under_test:
        yield under_test
