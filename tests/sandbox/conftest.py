from collections.abc import Iterator

import pytest

from tpt.sandbox.bubblewrap import why_not
from tpt.sandbox.worker import Sandbox


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    if reason := why_not():
        pytest.skip(reason)
    made = Sandbox("bubblewrap")
    yield made
    made.close()
