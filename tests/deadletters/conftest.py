"""A house of its own for each test, with a shorter ladder: letters come sooner."""

import pytest

from claimbus.cli.settings import Settings
from tests.consumers.conftest import house
from tests.consumers.conftest import settings as house_settings

__all__ = ["house", "house_settings"]


@pytest.fixture
def settings(house_settings: Settings) -> Settings:
    return house_settings.model_copy(update={"retry_ladder": "300ms,600ms"})
