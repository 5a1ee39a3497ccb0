import subprocess
import sys

import pytest

DATA = ("tagged", "tables", "files", "label_studio", "duplicates")
HEAVY = ("torch", "transformers", "datasets", "pandas", "pyarrow", "sklearn")


@pytest.mark.parametrize(
    "name",
    ["tags", "data.tagged", "data.tables", "data.files", "data.label_studio", "data.duplicates"],
)
def test_what_reads_files_is_quick_to_import(name):
    """Checking a file's tags or columns must not cost the seconds that the libraries take."""
    code = f"import sys, reptune.{name}; print(*set(sys.modules).intersection({HEAVY}))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == []
