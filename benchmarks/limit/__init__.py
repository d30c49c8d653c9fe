"""The programs in C, and their compiler."""

import shutil
import subprocess
from pathlib import Path
from typing import Final

from benchmarks.servers import BenchmarkError

LIBRARIES: Final = {
    "publish": ("-lrabbitmq", "-lhiredis"),
    "sink": ("-lssl", "-lcrypto", "-pthread"),
}


def compiled(name: str, into: Path) -> Path:
    """Compile ``<name>.c`` and return the program. Raises BenchmarkError with the compiler's words."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise BenchmarkError("there is no C compiler: install gcc, librabbitmq-dev and libhiredis-dev")
    source, program = Path(__file__).with_name(f"{name}.c"), into / name
    options = ("-std=gnu11", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra")
    command = [compiler, *options, "-o", str(program), str(source), *LIBRARIES[name]]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchmarkError(
            f"{source.name} does not compile; it needs librabbitmq-dev and libhiredis-dev\n{done.stderr}"
        )
    return program
