"""A local machine gets an image's disks, whole or not at all, and its former disks back."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest

from connector import files
from connector.cloud import local_targets, machine_files
from connector.cloud.local_targets import LocalTargets
from connector.cloud.machine_files import ImageDisk, MachineDescription, NetworkCard
from connector.cloud.target_instance import DiskReplacement, family
from connector.errors import BadInput, TargetFailed, TargetFull
from connector.transfer.qemu_img import QemuImgAnswer, qemu_img
from tests import forked
from tests.waiting import eventually

MIB: Final = 1 << 20


def disk(path: Path, form: str, capacity: int, content: bytes) -> None:
    """A disk image that begins with `content`."""
    raw = path.with_suffix(".tmp")
    raw.write_bytes(content)
    os.truncate(raw, capacity)
    assert not qemu_img("convert", "-f", "raw", "-O", form, str(raw), str(path)).trouble
    raw.unlink()


def bytes_of(path: Path, form: str) -> bytes:
    raw = path.with_suffix(".read")
    assert not qemu_img("convert", "-f", form, "-O", "raw", str(path), str(raw)).trouble
    content = raw.read_bytes().rstrip(b"\0")
    raw.unlink()
    return content


def make(directory: Path, words: str, *disks: tuple[str, str, int], **more: object) -> MachineDescription:
    """A machine or an image whose disks hold `words` and their number."""
    directory.mkdir(parents=True)
    for number, (name, form, capacity) in enumerate(disks):
        disk(directory / name, form, capacity, f"{words} {number}".encode())
    described = MachineDescription(
        directory.name,
        tuple(ImageDisk(name, form, capacity) for name, form, capacity in disks),
        guest_id="debian12_64Guest",
    )
    described = replace(described, **more)  # type: ignore[arg-type]
    for name, content in machine_files.files(described, directory).items():
        (directory / name).write_bytes(content)
    return described


class Place:
    """A machine with three disks and an image with two."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.machine, self.image = root / "machines" / "app", root / "images" / "web"
        own = ("sda.raw", "raw", 3 * MIB), ("sdb.qcow2", "qcow2", 2 * MIB), ("sdc.raw", "raw", MIB)
        self.before = make(self.machine, "own", *own, cards=(NetworkCard("52:54:00:00:00:01"),), cpus=4)
        (self.machine / "nvram.fd").write_bytes(b"variables")
        make(
            self.image, "web", ("2000.qcow2", "qcow2", 2 * MIB), ("2001.raw", "raw", 2 * MIB), firmware="efi"
        )
        self.targets = LocalTargets(root)

    def order(self, **changes: object) -> DiskReplacement:
        order = DiskReplacement("job-j", "j", "r-1", "app", str(self.image), (2 * MIB, 2 * MIB))
        return replace(order, **changes)  # type: ignore[arg-type]

    def contents(self) -> list[bytes]:
        now = machine_files.read(self.machine)
        assert now is not None
        return [bytes_of(self.machine / d.file, d.format) for d in now.disks]

    def names(self) -> set[str]:
        return {path.name for path in (self.root / "machines").iterdir()}


OWN: Final = [b"own 0", b"own 1", b"own 2"]
REPLACED: Final = [b"web 0", b"web 1", b"own 2"]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@contextmanager
def opened(path: Path, form: str) -> Iterator[None]:
    """A disk that a program of QEMU writes to, as a virtual machine does."""
    socket = path.with_suffix(".sock")
    words = ["qemu-nbd", "-f", form, "--persistent", "-k", str(socket), str(path)]
    with subprocess.Popen(words) as program:
        try:
            # it locks the disk, lets it go and locks it again while it opens: it is open when it listens
            eventually(lambda: socket.exists() and local_targets._is_written(path), "the disk is open")
            yield
        finally:
            program.terminate()


def test_a_machine_is_found_with_what_a_job_has_to_know(place: Place) -> None:
    found = place.targets.find("app")
    assert found is not None
    assert (found.name, found.running, found.family) == ("app", False, "linux")
    assert found.disks == (3 * MIB, 2 * MIB, MIB)
    for unknown in ("", "other", "../images/web", ".app.job-j.former", "a\0b"):
        assert place.targets.find(unknown) is None, unknown


def test_its_disks_are_replaced_and_everything_else_stays(place: Place) -> None:
    (former,) = place.targets.replace_disks(place.order())
    assert place.contents() == REPLACED
    now = machine_files.read(place.machine)
    assert now == replace(place.before, firmware="efi")
    assert (place.machine / "nvram.fd").read_bytes() == b"variables"
    sizes = [
        json.loads(qemu_img("info", "--output=json", "-f", d.format, str(place.machine / d.file)).text)
        for d in place.before.disks
    ]
    assert [size["virtual-size"] for size in sizes] == [3 * MIB, 2 * MIB, MIB]
    assert place.names() == {"app", Path(former).name}
    assert place.targets.replace_disks(place.order()) == [former]  # nothing is done again


def test_a_converted_copy_is_an_image_too(place: Place) -> None:
    make(
        place.image / "converted",
        "virtio",
        ("2000.qcow2", "qcow2", 2 * MIB),
        ("2001.qcow2", "qcow2", 2 * MIB),
    )
    place.targets.replace_disks(place.order(image=str(place.image / "converted")))
    assert place.contents() == [b"virtio 0", b"virtio 1", b"own 2"]


def test_the_former_disks_come_back_or_are_let_go(place: Place) -> None:
    place.targets.put_back("job-j", "app")  # nothing was replaced: nothing is done
    place.targets.replace_disks(place.order())
    for _ in range(2):
        place.targets.put_back("job-j", "app")
        assert (place.contents(), place.names()) == (OWN, {"app"})
    assert machine_files.read(place.machine) == place.before
    place.targets.replace_disks(place.order())
    for _ in range(2):
        place.targets.release_former("job-j", "app")
        assert (place.contents(), place.names()) == (REPLACED, {"app"})
    place.targets.put_back("job-j", "app")  # nothing is kept: nothing is done
    assert place.contents() == REPLACED


def test_a_later_run_of_the_job_keeps_the_disks_from_before_the_job(place: Place) -> None:
    place.targets.replace_disks(place.order())
    shutil.rmtree(place.image)
    make(place.image, "again", ("2000.qcow2", "qcow2", 2 * MIB), ("2001.raw", "raw", 2 * MIB))
    place.targets.replace_disks(place.order(run="r-2"))
    assert place.contents() == [b"again 0", b"again 1", b"own 2"]
    place.targets.put_back("job-j", "app")
    assert (place.contents(), place.names()) == (OWN, {"app"})


def test_another_job_has_to_wait_until_the_former_disks_are_gone(place: Place) -> None:
    place.targets.replace_disks(place.order())
    with pytest.raises(TargetFailed, match=r"former disks of it are kept already \(.app.job-j.former\)"):
        place.targets.replace_disks(place.order(token="job-k"))
    assert (place.contents(), place.names()) == (REPLACED, {"app", ".app.job-j.former"})
    place.targets.release_former("job-j", "app")
    place.targets.replace_disks(place.order(token="job-k"))
    place.targets.put_back("job-k", "app")
    assert (place.contents(), place.names()) == (REPLACED, {"app"})


def test_after_a_release_the_machine_is_nobodys(place: Place) -> None:
    """What was written since is the machine's own, also for another run of the same job."""
    place.targets.replace_disks(place.order())
    place.targets.release_former("job-j", "app")
    (place.machine / "sda.raw").write_bytes(b"months of work".ljust(3 * MIB, b"\0"))
    place.targets.replace_disks(place.order(run="r-2"))
    place.targets.put_back("job-j", "app")
    assert place.contents()[0] == b"months of work"


def test_a_machine_that_is_started_during_the_copy_keeps_its_disks(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = LocalTargets._make
    with ExitStack() as running:

        def started(targets: LocalTargets, *words: Any) -> None:
            make(targets, *words)
            running.enter_context(opened(place.machine / "sdb.qcow2", "qcow2"))

        monkeypatch.setattr(LocalTargets, "_make", started)
        with pytest.raises(TargetFailed, match="is running"):
            place.targets.replace_disks(place.order())
    assert place.contents() == OWN
    assert place.targets.release_former("job-j", "app") is None
    assert place.names() == {"app"}


def test_former_disks_that_are_in_use_are_not_removed(place: Place) -> None:
    (former,) = place.targets.replace_disks(place.order())
    with opened(Path(former) / "sda.raw", "raw"), pytest.raises(TargetFailed, match="is running"):
        place.targets.release_former("job-j", "app")
    place.targets.put_back("job-j", "app")
    assert place.contents() == OWN


@pytest.mark.parametrize("ending", [".former", "app"])
def test_a_move_that_fails_loses_nothing(place: Place, monkeypatch: pytest.MonkeyPatch, ending: str) -> None:
    move = files.move

    def broken(source: Path, target: Path) -> None:
        if target.name.endswith(ending):
            raise OSError(errno.EIO, "Input/output error")
        move(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(files, "move", broken)
        with pytest.raises(TargetFailed, match="Input/output error"):
            place.targets.replace_disks(place.order())
    place.targets.release_former("job-j", "app")
    assert place.names() == {"app"}
    assert place.contents() == (OWN if ending == ".former" else REPLACED)


def test_put_back_is_the_machine_as_it_was_with_all_of_its_files(place: Place) -> None:
    (place.machine / "notes").mkdir()
    (place.machine / "notes" / "a.txt").write_text("mine")
    (place.machine / "machine.xml").write_text("<domain>my own</domain>")
    place.targets.replace_disks(place.order())
    assert (place.machine / "notes" / "a.txt").read_text() == "mine"
    assert "my own" in (place.machine / "machine.xml").read_text()
    (place.machine / "nvram.fd").write_bytes(b"of the new system")
    place.targets.put_back("job-j", "app")
    assert (place.machine / "nvram.fd").read_bytes() == b"variables"
    assert (place.machine / "notes" / "a.txt").read_text() == "mine"


def test_a_copy_of_the_machine_is_nobodys(place: Place) -> None:
    place.targets.replace_disks(place.order())
    shutil.copytree(place.machine, place.machine.with_name("copy"))
    place.targets.replace_disks(place.order(instance="copy", run="r-2"))
    place.targets.put_back("job-j", "copy")
    assert machine_files.read(place.machine.with_name("copy")) is not None
    assert (place.machine.with_name("copy") / "sda.raw").read_bytes()[:5] == b"web 0"


def test_former_disks_that_were_removed_by_hand_make_the_machine_its_own(place: Place) -> None:
    (former,) = place.targets.replace_disks(place.order())
    shutil.rmtree(former)
    with pytest.raises(TargetFailed, match="its former disks are gone"):
        place.targets.put_back("job-j", "app")
    (place.machine / "sda.raw").write_bytes(b"months of work".ljust(3 * MIB, b"\0"))
    place.targets.replace_disks(place.order(run="r-2"))
    place.targets.put_back("job-j", "app")
    assert place.contents()[0] == b"months of work"


def test_a_machine_that_was_made_anew_is_not_taken_away(place: Place) -> None:
    place.targets.replace_disks(place.order())
    (place.machine / "hand-over.json").unlink()
    with pytest.raises(TargetFailed, match="somebody else has made this machine anew"):
        place.targets.put_back("job-j", "app")
    assert place.contents() == REPLACED
    place.targets.release_former("job-j", "app")
    assert place.names() == {"app"}


def test_an_unreplaced_disk_comes_back_as_it_is_now(place: Place) -> None:
    place.targets.replace_disks(place.order())
    newer = place.machine / "newer"
    newer.write_bytes(b"written anew".ljust(MIB, b"\0"))
    newer.replace(place.machine / "sdc.raw")
    place.targets.put_back("job-j", "app")
    assert place.contents() == [*OWN[:2], b"written anew"]


def test_a_second_run_that_was_refused_leaves_nothing_that_could_take_over(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.targets.replace_disks(place.order())
    make, move = LocalTargets._make, files.move
    with ExitStack() as running, monkeypatch.context() as patch:

        def started(targets: LocalTargets, *words: Any) -> None:
            make(targets, *words)
            running.enter_context(opened(place.machine / "sdb.qcow2", "qcow2"))

        patch.setattr(LocalTargets, "_make", started)
        with pytest.raises(TargetFailed, match="is running"):
            place.targets.replace_disks(place.order(run="r-2"))

    def broken(source: Path, target: Path) -> None:
        if source.name.endswith(".former"):
            raise OSError(errno.EIO, "Input/output error")
        move(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(files, "move", broken)
        with pytest.raises(TargetFailed, match="Input/output error"):
            place.targets.put_back("job-j", "app")
    place.targets.put_back("job-j", "app")
    assert (place.contents(), place.names()) == (OWN, {"app"})


def test_a_record_that_lost_its_number_costs_no_former_disk(place: Place) -> None:
    place.targets.replace_disks(place.order())
    record = json.loads((place.machine / "hand-over.json").read_text())
    for damaged in ({k: v for k, v in record.items() if k != "disks"}, record | {"disks": "-1"}):
        (place.machine / "hand-over.json").write_text(json.dumps(damaged))
        place.targets.put_back("job-j", "app")
        assert place.contents() == OWN
        place.targets.replace_disks(place.order())


def test_a_copy_that_is_not_the_image_is_not_used(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The storage lies: what it was given is not what it shows."""

    def lying(*words: str) -> QemuImgAnswer:
        answer = qemu_img(*words)
        if words[0] == "convert" and words[-1].endswith("sda.raw"):
            with open(words[-1], "r+b") as disk:
                disk.write(b"X")
        return answer

    with monkeypatch.context() as patch:
        patch.setattr(local_targets, "_qemu_img", lying)
        with pytest.raises(TargetFailed, match="what was written is not what the image has"):
            place.targets.replace_disks(place.order())
    assert (place.contents(), place.names()) == (OWN, {"app"})


def test_a_copy_that_fails_leaves_no_half_machine(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be as large as the image, and fill the disk that was full already."""

    def full(*words: str) -> QemuImgAnswer:
        if words[0] == "convert" and words[-1].endswith("sdb.qcow2"):
            return QemuImgAnswer("", "error while writing: No space left on device")
        return qemu_img(*words)

    with monkeypatch.context() as patch:
        patch.setattr(local_targets, "_qemu_img", full)
        with pytest.raises(TargetFull, match="No space left"):
            place.targets.replace_disks(place.order())
    assert (place.contents(), place.names()) == (OWN, {"app"})


def test_a_damaged_machine_of_the_job_can_be_put_back(place: Place) -> None:
    place.targets.replace_disks(place.order())
    (place.machine / "sdb.qcow2").unlink()
    (place.machine / "machine.json").write_text("{")
    place.targets.put_back("job-j", "app")
    assert place.contents() == OWN


def test_an_image_that_is_larger_than_it_says_is_refused(place: Place) -> None:
    shutil.rmtree(place.image)
    make(place.image, "web", ("2000.qcow2", "qcow2", 5 * MIB), ("2001.raw", "raw", 2 * MIB))
    with pytest.raises(BadInput, match="its system disk has 3145728 bytes, and the source's 5242880"):
        place.targets.replace_disks(place.order())
    described = machine_files.read(place.image)
    assert described is not None
    smaller = replace(described, disks=(replace(described.disks[0], capacity=MIB), described.disks[1]))
    (place.image / "machine.json").write_text(json.dumps(smaller.to_json()))
    with pytest.raises(TargetFailed, match="the image's disk has 5242880 bytes, and this disk 3145728"):
        place.targets.replace_disks(place.order())
    assert place.contents() == OWN


def test_a_machine_that_runs_is_left_alone(place: Place) -> None:
    with opened(place.machine / "sdb.qcow2", "qcow2"):
        found = place.targets.find("app")
        assert found is not None
        assert found.running
        with pytest.raises(TargetFailed, match="is running, and this provider stops no machine") as refused:
            place.targets.replace_disks(place.order(stop=True))
        assert refused.value.retryable
    assert (place.contents(), place.names()) == (OWN, {"app"})
    place.targets.replace_disks(place.order())
    with opened(place.machine / "sda.raw", "raw"), pytest.raises(TargetFailed, match="is running"):
        place.targets.put_back("job-j", "app")
    assert place.contents() == REPLACED


def test_a_machine_that_changed_since_the_job_was_made_is_refused(place: Place) -> None:
    with pytest.raises(BadInput, match=r"its data disk 1 has 2097152 bytes, and the source's 2097153"):
        place.targets.replace_disks(place.order(capacities=(2 * MIB, 2 * MIB + 1)))
    with pytest.raises(BadInput, match="target instance other: does not exist here"):
        place.targets.replace_disks(place.order(instance="other"))
    (place.machine / "sdb.qcow2").unlink()
    with pytest.raises(TargetFailed, match="a disk of the machine cannot be read"):
        place.targets.replace_disks(place.order())
    assert place.names() == {"app"}


def killed_at(moment: int, what: str, place: Place) -> None:
    """Do it, and kill this process at that moment. Only in a process of its own."""
    steps = 0

    def counted(work: Callable[..., Any]) -> Callable[..., Any]:
        def call(*words: object, **more: object) -> object:
            nonlocal steps
            before, after = 2 * steps, 2 * steps + 1
            steps += 1
            if before == moment:
                os.kill(os.getpid(), signal.SIGKILL)
            result = work(*words, **more)
            if after == moment:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return call

    changing = (
        *((files, "move"), (files, "replace"), (os, "link")),
        *((local_targets, "_qemu_img"), (shutil, "rmtree")),
    )
    for owner, name in changing:
        setattr(owner, name, counted(getattr(owner, name)))
    targets = local_targets.LocalTargets(place.root)
    if what == "replace":
        targets.replace_disks(place.order())
    elif what == "put back":
        targets.put_back("job-j", "app")
    else:
        targets.release_former("job-j", "app")


@pytest.mark.parametrize("what", ["replace", "put back", "release"])
def test_killed_at_any_step_it_is_done_again(tmp_path: Path, what: str) -> None:
    """Each call that changes a file, before and after it. The machine has all of its disks or all of the image's."""
    for moment in range(200):
        root = tmp_path / str(moment)
        place = Place(root)
        if what != "replace":
            place.targets.replace_disks(place.order())
        code = forked.code_of(partial(killed_at, moment, what, place))
        if place.machine.exists():
            assert place.contents() in (OWN, REPLACED), moment
        if what == "replace":
            place.targets.replace_disks(place.order())
            assert place.contents() == REPLACED
            place.targets.put_back("job-j", "app")
        elif what == "put back":
            place.targets.put_back("job-j", "app")
        else:
            place.targets.release_former("job-j", "app")
        assert place.contents() == (REPLACED if what == "release" else OWN)
        assert place.names() == {"app"}
        shutil.rmtree(root)
        if code != -signal.SIGKILL:
            assert code == 0
            assert moment >= 2
            return
    raise AssertionError("it never came to its end")


@pytest.mark.parametrize(
    ("guest_id", "expected"),
    [
        ("windows2019srv_64Guest", "windows"),
        ("winNetEnterpriseGuest", "windows"),
        ("rhel8_64Guest", "linux"),
        ("otherLinux64Guest", "linux"),
        ("", ""),
        ("otherGuest64", ""),
        ("darwin20_64Guest", ""),
        ("freebsd13_64Guest", ""),
    ],
)
def test_the_family_of_a_guest(guest_id: str, expected: str) -> None:
    assert family(guest_id) == expected
