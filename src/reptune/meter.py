"""What a run cost: seconds, memory, tokens, money."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from types import TracebackType

import reptune.needs_torch  # noqa: F401

import psutil
import torch

_SAMPLE_SECONDS = 0.05


@dataclass
class Meter:
    """Measure a block of code.

    >>> with Meter("sorting") as cost:
    ...     _ = sorted(range(100_000))
    >>> cost.seconds > 0 and cost.peak_memory_mb > 0
    True
    >>> print(Meter("fine-tuning", seconds=100.0, peak_memory_mb=900.0, tokens=50_000))
    fine-tuning: 100.0 s, peak memory 900 MB, 500 tokens/s

    Attributes:
        name: What is measured.
        seconds: Wall-clock time.
        peak_memory_mb: Highest resident memory of the process during the block, in MB; on a
            CUDA device the highest memory PyTorch held there instead.
        tokens: Tokens (padding not counted) that the block reported through `add_tokens`.

    Source: taught in chapter 1.
    """

    name: str = ""
    seconds: float = 0.0
    peak_memory_mb: float = 0.0
    tokens: int = 0
    _start: float = field(default=0.0, repr=False)
    # Both only while the block runs: neither can be pickled, and a fitted estimator holds a meter.
    _stop: threading.Event | None = field(default=None, repr=False, compare=False)
    _sampler: threading.Thread | None = field(default=None, repr=False, compare=False)

    def __enter__(self) -> Meter:
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        self._stop = threading.Event()
        self._sampler = threading.Thread(target=self._sample, args=(self._stop,), daemon=True)
        self._sampler.start()
        self._start = time.perf_counter()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.seconds = time.perf_counter() - self._start
        if self._stop is not None and self._sampler is not None:
            self._stop.set()
            self._sampler.join()
        self._stop = self._sampler = None
        if torch.cuda.is_available():
            self.peak_memory_mb = torch.cuda.max_memory_allocated() / 1e6

    def add_tokens(self, count: int) -> None:
        """Add to the number of tokens processed."""
        self.tokens += int(count)

    def dollars(self, price_per_hour: float) -> float:
        """Return what the block cost on a machine rented at `price_per_hour` dollars.

        >>> Meter(seconds=1800.0).dollars(price_per_hour=0.5)
        0.25

        Raises:
            ValueError: If the price is negative.
        """
        if price_per_hour < 0:
            raise ValueError(f"price_per_hour={price_per_hour}; a price is at least 0.")
        return self.seconds / 3600 * price_per_hour

    def __str__(self) -> str:
        rate = f", {self.tokens / self.seconds:,.0f} tokens/s" if self.tokens else ""
        label = f"{self.name}: " if self.name else ""
        return f"{label}{self.seconds:.1f} s, peak memory {self.peak_memory_mb:,.0f} MB{rate}"

    def _sample(self, stop: threading.Event) -> None:
        process = psutil.Process()
        while True:
            self.peak_memory_mb = max(self.peak_memory_mb, process.memory_info().rss / 1e6)
            if stop.wait(_SAMPLE_SECONDS):
                return
