"""Groups in Podium's wire form for benchmarks: made up, or converted from recorded trajectories.

python -m benchmarks.groups taubench FILE.jsonl > groups.jsonl
python -m benchmarks.groups synthetic --num 100 --group-bytes 30000 > groups.jsonl
"""

from benchmarks.groups.recorded import CONVERTERS, gsm8k_groups
from benchmarks.groups.synthetic import synthetic_groups
from benchmarks.groups.wire import Group, Message

__all__ = ["CONVERTERS", "Group", "Message", "gsm8k_groups", "synthetic_groups"]
