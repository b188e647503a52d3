import pytest

from builds.status import FINAL, MOVES, RUNNING, Status, api_word, sources


def test_a_final_status_is_never_left() -> None:
    assert {Status.SUCCEEDED, Status.FAILED, Status.CANCELLED, Status.LOST} == FINAL
    assert all(not MOVES[status] for status in FINAL)


def test_what_is_being_cancelled_can_no_longer_succeed() -> None:
    assert Status.CANCELLING not in sources(Status.SUCCEEDED)


def test_every_state_that_a_worker_holds_can_end_without_it() -> None:
    for status in RUNNING:
        assert {Status.CANCELLED, Status.LOST} & MOVES[status]


@pytest.mark.parametrize(
    ("status", "word"),
    [
        (Status.QUEUED, "pending build"),
        (Status.BUILDING, "building"),
        (Status.PUSHING, "building"),
        (Status.CANCELLING, "building"),
        (Status.SUCCEEDED, "built and pushed"),
        (Status.FAILED, "error: it broke"),
        (Status.CANCELLED, "error: it broke"),
        (Status.LOST, "error: it broke"),
    ],
)
def test_clients_read_the_words_of_the_images_api(status: Status, word: str) -> None:
    assert api_word(status, "it broke") == word
