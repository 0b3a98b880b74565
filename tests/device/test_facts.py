"""What a device says of itself, read in one command; and cores chosen by their clocks."""

from __future__ import annotations

import pytest

from mobilesplit.core.errors import DeviceError, UsageError
from mobilesplit.core.profiles import DeviceFacts
from mobilesplit.device.device import Device, ShellResult
from mobilesplit.device.facts import core_mask, parse_facts, read_facts
from mobilesplit.emulator.device_description import load_description

PHONE = (1700000,) * 4 + (2370000,) * 4 + (2914000,)
"""Four little cores, four middle ones, a prime one."""

ANSWER = """\
Pixel 8
14
34
google/shiba/shiba:14/UD1A
arm64-v8a
arm64-v8a,armeabi-v7a
38111FDJH00
{qemu}

{slowdown}

==
3
==
5.15.110-android14-11
==
/sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq {paths}
==
{clocks}
==
MemTotal:        7804004 kB
MemFree:          217340 kB
"""


def answer(paths: str = "", clocks: str = "1700000", qemu: str = "", slowdown: str = "") -> str:
    return ANSWER.format(paths=paths, clocks=clocks, qemu=qemu, slowdown=slowdown)


def path(number: int) -> str:
    return f"/sys/devices/system/cpu/cpu{number}/cpufreq/cpuinfo_max_freq"


def test_a_phone_tells_all_of_it() -> None:
    facts = parse_facts(answer(), "x")
    assert facts is not None
    assert (facts.model, facts.android, facts.sdk) == ("Pixel 8", "14", 34)
    assert (facts.abi, facts.abis) == ("arm64-v8a", ("arm64-v8a", "armeabi-v7a"))
    assert (facts.serial_number, facts.kernel) == ("38111FDJH00", "5.15.110-android14-11")
    assert facts.memory_bytes == 7804004 * 1024
    assert not facts.emulated
    assert facts.inference_slowdown == 1


def test_an_avd_is_emulated() -> None:
    facts = parse_facts(answer(qemu="1"), "x")
    assert facts is not None and facts.emulated


@pytest.mark.parametrize("slowdown", ["twice", "nan", "inf", "0.5", "-2"])
def test_a_slow_down_that_is_no_number_from_1_on_is_no_answer(slowdown: str) -> None:
    assert parse_facts(answer(slowdown=slowdown), "x") is None
    facts = parse_facts(answer(slowdown="2.5"), "x")
    assert facts is not None and facts.inference_slowdown == 2.5


def test_clocks_are_in_the_order_of_the_cores_not_of_the_shell() -> None:
    paths = " ".join(path(number) for number in (1, 10, *range(2, 10)))
    clocks = " ".join(str(khz) for khz in (0, 1, 10, *range(2, 10)))
    facts = parse_facts(answer(paths, clocks), "x")
    assert facts is not None and facts.core_max_khz == tuple(range(11))


@pytest.mark.parametrize(
    ("paths", "clocks"),
    [
        pytest.param(path(1), "1700000", id="one is denied"),
        pytest.param(path(2), "1 2", id="one is off"),
        pytest.param("", "", id="all are denied"),
    ],
)
def test_clocks_that_are_not_whole_are_not_told(paths: str, clocks: str) -> None:
    facts = parse_facts(answer(paths, clocks), "x")
    assert facts is not None and facts.core_max_khz == ()


def test_what_is_no_android_is_an_error(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "shell", lambda *_, **__: ShellResult(0, b"busybox\n", ""))
    with pytest.raises(DeviceError, match="does not answer as an Android device does"):
        read_facts(device)


def test_a_virtual_phone_tells_its_description(device: Device) -> None:
    facts = read_facts(device)
    description = load_description("flagship-2024")
    assert facts.emulated
    assert facts.model == description.model
    assert (facts.cores, len(facts.core_max_khz)) == (description.cores, description.cores)
    assert (facts.sdk, facts.abis) == (description.sdk, (description.abi,))
    assert facts.inference_slowdown == description.inference_slowdown
    assert facts.general_slowdown == description.general_slowdown
    assert facts.kernel and facts.build and facts.serial_number


@pytest.mark.parametrize(
    ("clocks", "cores", "mask"),
    [
        (PHONE, "big", "1f0"),
        (PHONE, "little", "f"),
        (PHONE, "all", "1ff"),
        ((1800000,) * 4, "big", "f"),
        ((1800000,) * 4, "little", "f"),
        ((2200000, 2200000, 1800000, 1800000), "big", "3"),
    ],
)
def test_cores_are_chosen_by_their_clocks(clocks: tuple[int, ...], cores: str, mask: str) -> None:
    assert core_mask(DeviceFacts(name="x", core_max_khz=clocks), cores) == mask


def test_without_clocks_only_all_cores_can_be_chosen() -> None:
    facts = DeviceFacts(name="x", cores=6)
    assert core_mask(facts, "all") == "3f"
    with pytest.raises(UsageError, match="does not tell the clocks"):
        core_mask(facts, "big")
