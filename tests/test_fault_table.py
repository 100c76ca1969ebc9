import pytest

from tests.faults import FaultTable


def test_counts_each_fault_and_sums_them():
    table = FaultTable()
    assert table.lines() == []
    table.add("killed", "identical", 3)
    table.add("killed", "clear error")
    table.add("no disk", "lost or damaged")
    head, killed, no_disk, total = table.lines()
    assert head.split("  ")[0] == "fault"
    assert killed.split() == ["killed", "4", "3", "1", "0", "0"]
    assert no_disk.split() == ["no", "disk", "1", "0", "0", "0", "1"]
    assert total.split() == ["in", "all", "5", "3", "1", "0", "1"]
    assert table.count() == 5
    assert table.count("hang", "lost or damaged") == 1


def test_knows_no_other_outcome():
    with pytest.raises(ValueError, match="one of"):
        FaultTable().add("killed", "fine")
