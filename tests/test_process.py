"""What a process tells libraries before it loads them."""

import inspect
import logging
import os
import subprocess
import sys

import pytest

from itool_cli.main import main
from itool_data.process import prepare


def test_the_users_own_environment_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    monkeypatch.delenv("TORCH_CPP_LOG_LEVEL", raising=False)
    prepare()
    assert (os.environ["OMP_WAIT_POLICY"], os.environ["TORCH_CPP_LOG_LEVEL"]) == ("ACTIVE", "ERROR")


@pytest.mark.parametrize("imports", ["itool_cli.main, itool_data.process", "bench"])
def test_nothing_has_loaded_torch_before(imports: str) -> None:
    code = f"import sys, {imports}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_of_bitsandbytes_only_the_kernel_that_is_not_needed_goes_unsaid(monkeypatch: pytest.MonkeyPatch) -> None:
    import bitsandbytes.backends.cpu.ops as ops

    assert "Failed to load CPU gemm_4bit_forward" in inspect.getsource(ops)
    monkeypatch.setattr(sys, "argv", ["itool", "--version"])
    with pytest.raises(SystemExit):
        main()
    assert not ops.logger.isEnabledFor(logging.WARNING)
    assert logging.getLogger("bitsandbytes.cextension").isEnabledFor(logging.WARNING)
