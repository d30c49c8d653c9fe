"""What hypothesis draws: small pools, so that draws meet."""

from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st

from claimbus.events.event import ALL
from claimbus.events.outages import Curtailment, Outage

PARTICIPANTS = ("PGAE", "SCE1", "SDG3", "NOB_2")
NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)

participants = st.sampled_from(PARTICIPANTS)
audiences = st.just(ALL) | st.frozensets(participants, min_size=1)
event_types = st.builds(
    "{}.{}.{}".format,
    st.sampled_from(["oms", "market", "system"]),
    st.sampled_from(["resource-outage", "dam", "notice"]),
    st.sampled_from(["closed", "changed", "published"]),
)

minutes = st.integers(0, 3 * 24 * 60).map(lambda count: NEW_YEAR + timedelta(minutes=count))
megawatts = st.sampled_from([0.0, -0.0, 0.01, 10.0, 99.9, 1234.5])
curtailments = st.builds(
    lambda start, minutes, mw: Curtailment(start, start + timedelta(minutes=minutes), mw),
    minutes,
    st.integers(0, 600),
    megawatts,
)
outages = st.builds(
    Outage,
    mrid=st.sampled_from([f"1512003{n}" for n in range(5)]),
    resource_id=st.sampled_from(["SUNRIV_2_UNIT 1", "MESA_7_SOLAR1"]),
    resource_name=st.sampled_from(["SUN RIVER UNIT 1", "MESA, NORTH", "Él Río"]),
    outage_type=st.sampled_from(["FORCED", "PLANNED"]),
    nature_of_work=st.sampled_from(["PLANT_TROUBLE", "A CODE NOBODY KNOWS"]),
    status=st.sampled_from([None, "OUT", "APPROVED"]),
    pmax_mw=megawatts,
    net_qualifying_capacity_mw=megawatts,
    curtailments=st.lists(curtailments, min_size=1, max_size=4).map(tuple),
)
snapshots = st.lists(outages, max_size=5).map(lambda drawn: {outage.mrid: outage for outage in drawn})
