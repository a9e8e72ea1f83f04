"""When the host has room for one more run."""

from pathlib import Path

import pytest

from orchestrator.host import Reading, read, short_of
from orchestrator.settings import HostSettings, bytes_of
from orchestrator.words import size

ROOM = Reading(memory=8 << 30, load=0.5, disk=100 << 30)
DEFAULTS = HostSettings()
NO_LIMITS = HostSettings(memory_min=0, load_max=0, disk_min=0)
EMPTY = Reading(memory=0, load=1000.0, disk=0)


def test_a_host_with_room_holds_nothing() -> None:
    assert short_of(ROOM, DEFAULTS, running=5) is None


@pytest.mark.parametrize(
    ("reading", "words"),
    [
        (
            Reading(100 << 20, 0.5, 100 << 30),
            "100 MiB of memory are available, `host.memory_min` wants 512 MiB",
        ),
        (Reading(8 << 30, 0.5, 1 << 29), "512 MiB of the disk are free, `host.disk_min` wants 1 GiB"),
        (Reading(8 << 30, 17.0, 100 << 30), "the load is 17.0 per core, `host.load_max` allows 16"),
    ],
)
def test_what_the_host_lacks_is_said_with_the_key(reading: Reading, words: str) -> None:
    reason = short_of(reading, DEFAULTS, running=1)
    assert reason is not None
    assert reason.code == "host"
    assert words in reason.words


def test_load_alone_never_holds_the_first_run() -> None:
    assert short_of(Reading(8 << 30, 1000.0, 100 << 30), DEFAULTS, running=0) is None


def test_zero_is_no_limit() -> None:
    assert short_of(EMPTY, NO_LIMITS, running=9) is None


def test_this_host_can_be_read(tmp_path: Path) -> None:
    reading = read(tmp_path)
    assert reading.memory > 0
    assert reading.disk >= 0


@pytest.mark.parametrize(
    ("text", "number"),
    [("0", 0), (512, 512), ("64K", 65536), ("4G", 4 << 30), ("512 MiB", 512 << 20), ("1gb", 1 << 30)],
)
def test_sizes_are_understood(text: object, number: int) -> None:
    assert bytes_of(text) == number


@pytest.mark.parametrize("text", ["", "4X", "-1", "1.5G", True, None, "lots"])
def test_what_is_no_size_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="as 512M or 4G"):
        bytes_of(text)


def test_sizes_are_said_in_the_unit_that_fits() -> None:
    assert [size(n) for n in (0, 64 << 20, 3 << 29)] == ["0 bytes", "64 MiB", "1.5 GiB"]
