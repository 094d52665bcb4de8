"""A cancellation reaches whatever is linked to it, and nothing above it."""

from __future__ import annotations

import gc
import threading
import weakref

from connector.cancellation import Cancellation
from tests.waiting import PATIENCE


def test_a_child_is_set_by_any_parent_and_sets_none() -> None:
    first, second = Cancellation(), Cancellation()
    child = Cancellation(first, second)
    child.set()
    assert not first.is_set() and not second.is_set()
    other = Cancellation(first, second)
    grandchild = Cancellation(other)
    second.set()
    assert other.is_set() and grandchild.is_set() and not first.is_set()


def test_a_child_of_what_is_set_is_set() -> None:
    parent = Cancellation()
    parent.set()
    assert Cancellation(parent).is_set()


def test_who_waits_is_woken() -> None:
    parent = Cancellation()
    child = Cancellation(parent)
    woken = threading.Event()
    waiter = threading.Thread(target=lambda: child.wait(PATIENCE) and woken.set())
    waiter.start()
    parent.set()
    waiter.join(PATIENCE)
    assert woken.is_set()


def test_a_parent_keeps_no_child_alive() -> None:
    parent = Cancellation()
    child = weakref.ref(Cancellation(parent))
    gc.collect()
    assert child() is None
