"""An image is made from what was proved, and says to the instance what that was."""

from __future__ import annotations

from connector.cloud.provider import ImageRequest, StoredImage
from connector.control.store import tables
from connector.control.store.database import Database
from tests.control.house import Cloud, House


def _read(house: House) -> tuple[str, str]:
    """A job whose pass is done, before its image is made."""
    job = house.job()
    house.service.start(job)
    house.turn()
    done = house.carry()
    assert done is not None
    return job, done.id


def test_without_evidence_there_is_no_image(house: House) -> None:
    job, _ = _read(house)
    database = Database(house.url)
    with database.write() as connection:
        connection.execute(tables.evidence.delete())
    database.close()
    house.turn()
    assert (house.status(job), house.cloud.images) == ("InError", [])
    assert "no evidence of this run's pass" in str(house.get(job).error)


def test_the_hand_over_says_what_the_disks_must_show(house: House) -> None:
    class Watched(Cloud):
        def make_image(self, request: ImageRequest) -> StoredImage:
            asked.append(request)
            return super().make_image(request)

    asked: list[ImageRequest] = []
    house.cloud.__class__ = Watched
    job, reading = _read(house)
    house.turn()
    assert house.status(job) == "Finished"
    (request,) = asked
    assert request.expect == {key: {"reading": reading} for key in ("2000", "2001")}
    assert [str(disk.key) for disk in request.disks] == sorted(request.expect)
