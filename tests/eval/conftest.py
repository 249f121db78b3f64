"""Fixtures of the evaluation tests."""

from pathlib import Path

import pytest

from itool_data.assets import BFCL_V4, bfcl_data
from itool_data.errors import ItoolError
from itool_eval.bfcl.categories import Version
from itool_eval.bfcl.single_turn import SingleTurnScorer
from itool_eval.tau2.domain import Domain, load_domain


@pytest.fixture(scope="session")
def bfcl_folder() -> Path:
    """The data folder of the official v3 wheel; skips where it cannot be had."""
    try:
        return bfcl_data()
    except ItoolError as error:
        pytest.skip(f"no BFCL data: {error}")


@pytest.fixture(scope="session")
def bfcl_v4_folder() -> Path:
    """The data folder of the official v4 wheel; skips where it cannot be had."""
    try:
        return bfcl_data(BFCL_V4)
    except ItoolError as error:
        pytest.skip(f"no BFCL data: {error}")


@pytest.fixture(scope="session")
def domain() -> Domain:
    """tau2's telecom domain; skips where the wheel cannot be had."""
    try:
        return load_domain()
    except ItoolError as error:
        pytest.skip(f"no tau2 data: {error}")


@pytest.fixture(scope="session")
def v3(bfcl_folder: Path) -> SingleTurnScorer:
    return SingleTurnScorer(bfcl_folder, Version.V3)
