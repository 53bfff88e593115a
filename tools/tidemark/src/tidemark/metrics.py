"""Reads the services' ``/metrics`` pages."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import httpx
from prometheus_client.parser import text_string_to_metric_families


@dataclass(frozen=True, slots=True)
class Sample:
    """One time series' value now."""

    name: str
    labels: Mapping[str, str]
    value: float


def parse(text: str) -> list[Sample]:
    """The samples of one page. Raises ValueError where it is no metrics page."""
    return [
        Sample(sample.name, sample.labels, float(sample.value))
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    ]


async def scrape(urls: Mapping[str, str], timeout_s: float = 2.0) -> dict[str, list[Sample]]:
    """Service → samples; a service that does not answer has none."""
    async with httpx.AsyncClient(timeout=timeout_s) as client:

        async def one(url: str) -> list[Sample]:
            try:
                answer = await client.get(f"{url}/metrics")
                return parse(answer.text) if answer.status_code == httpx.codes.OK else []
            except (httpx.HTTPError, ValueError):
                return []

        pages = await asyncio.gather(*(one(url) for url in urls.values()))
    return dict(zip(urls, pages, strict=True))


def total(samples: Iterable[Sample], name: str, **labels: str) -> float:
    """Sum over the series of this name whose labels contain the given ones; 0 where there is none."""
    return sum(
        sample.value
        for sample in samples
        if sample.name == name and all(sample.labels.get(key) == value for key, value in labels.items())
    )
