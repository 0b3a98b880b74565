"""Which cuts a plan could turn on, while their heads are not yet known exactly. Pure.

A head that is too slow or too dear however its interval ends needs no more samples; one whose
interval straddles what decides does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mobilesplit.core.links import Link
from mobilesplit.core.plans import LOSSY_CODECS, Job
from mobilesplit.core.profiles import Profile
from mobilesplit.schedule.cost import candidates, predict


def contenders(
    profile: Profile,
    half_width_ms: Mapping[str, float],
    scenarios: Sequence[tuple[Link, Job]],
) -> set[str]:
    """Ids of cuts whose plan could change within the interval of their head.

    Args:
        half_width_ms: of each cut's head interval; a cut that is not in it is known exactly.
        scenarios: the links and jobs that plans will be made for; objectives that cost cloud
            time or latency (energies have intervals of their own).
    """
    found: set[str] = set()
    for link, job in scenarios:
        found |= _of_one(profile, half_width_ms, link, job)
    return found


def _of_one(profile: Profile, half_width_ms: Mapping[str, float], link: Link, job: Job) -> set[str]:
    scored = []
    for candidate in candidates(profile):
        if candidate.codec in LOSSY_CODECS and not job.allow_lossy:
            continue
        prediction = predict(profile, candidate, link, job)
        half_ms = half_width_ms.get(candidate.cut.id, 0.0)
        low_ms, high_ms = (prediction.at_percentile_ms + side * half_ms for side in (-1, 1))
        scored.append((candidate.cut.id, prediction.cloud_ms, low_ms, high_ms))
    sure = [one for one in scored if one[3] <= job.sla_ms]
    if job.objective == "min_latency" or not sure:
        # What may be the fastest; also the nearest miss, where nothing is sure to keep the SLA.
        best_ms = min((high_ms for *_, high_ms in scored), default=0.0)
        fastest = {cut for cut, _, low_ms, _ in scored if low_ms <= best_ms}
        if job.objective != "min_latency":
            straddling = {cut for cut, _, low_ms, _ in scored if low_ms <= job.sla_ms}
            return straddling or fastest
        return fastest if len(fastest) > 1 else set()
    cheapest_ms = min(cloud_ms for _, cloud_ms, _, _ in sure)
    return {
        cut
        for cut, cloud_ms, low_ms, high_ms in scored
        if cloud_ms < cheapest_ms and low_ms <= job.sla_ms < high_ms
    }
