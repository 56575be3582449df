"""The store's tables.

JSON columns are bytes, because PostgreSQL's text cannot hold a NUL, and so that nothing is encoded
twice.

To change a table: change it here, raise `SCHEMA_VERSION`, and write a migration of that name in
`migrations.versions`, which brings older databases to the same. A test compares the two.
"""

import sqlalchemy as sa

METADATA = sa.MetaData()

# The version of the tables: the last of `migrations.versions`. The one row of the table below tells
# which version a database has; alembic made up its name.
SCHEMA_VERSION = "0006"
VERSIONS = sa.Table(
    "alembic_version", METADATA, sa.Column("version_num", sa.String(32), primary_key=True)
)


def _quota_table(name: str, **columns: type[sa.Double[float] | sa.BigInteger]) -> sa.Table:
    others = [sa.Column(column, kind, nullable=False) for column, kind in columns.items()]
    return sa.Table(name, METADATA, sa.Column("name", sa.Text, primary_key=True), *others)


# Judge calls. `api_key_id` and `run` tell who paid; "" where there is none. `prompt` is
# [[role, [part, ...]], ...]; a part is text, {"blob": hash} for a long one, which is in `texts`, or
# {"image": part}, whose part is a URL. `verdict` is null where the reply held none; `fault` says
# why.
CALLS = sa.Table(
    "calls", METADATA,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("key", sa.String(64), nullable=False, index=True),
    sa.Column("pass_index", sa.Integer, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False, index=True),
    sa.Column("judge", sa.Text, nullable=False),
    sa.Column("api_key_id", sa.String(16), nullable=False, server_default=""),
    sa.Column("run", sa.Text, nullable=False, server_default=""),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("prompt", sa.LargeBinary, nullable=False),
    sa.Column("reply", sa.LargeBinary, nullable=False),
    sa.Column("finish_reason", sa.Text),
    sa.Column("verdict", sa.LargeBinary),
    sa.Column("fault", sa.LargeBinary),
    sa.Column("usage", sa.LargeBinary, nullable=False),
    sa.Column("latency_s", sa.Float, nullable=False),
)  # fmt: skip

# What each group told about its judge, and what was assumed of that judge when it was ranked.
PAST_GROUPS = sa.Table(
    "past_groups", METADATA,
    sa.Column("key", sa.String(64), primary_key=True),
    sa.Column("judge_key", sa.String(64), nullable=False),
    sa.Column("has_residuals", sa.Boolean, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False, index=True),
    sa.Column("past", sa.LargeBinary, nullable=False),
    sa.Column("noise", sa.LargeBinary),
    sa.Index("past_groups_by_judge", "judge_key", "has_residuals", "created_at"),
)  # fmt: skip

# The long texts that the calls of a content key show, each once, compressed, by the sha256 of their
# UTF-8 bytes. The key comes first, so that the texts of a group are stored side by side.
TEXTS = sa.Table(
    "texts", METADATA,
    sa.Column("key", sa.String(64), primary_key=True),
    sa.Column("hash", sa.LargeBinary(32), primary_key=True),
    sa.Column("content", sa.LargeBinary, nullable=False),
)  # fmt: skip
# PostgreSQL's advisory lock: transactions that write texts share it, and one that deletes texts has
# it alone, because it cannot see a call that is not committed yet and needs texts that are there.
TEXTS_LOCK = 0x706F64747874

# Answers. `key` leads to the calls behind an answer; `answer` is what its first caller was sent,
# and `ask` is that caller's.
RANKINGS = sa.Table(
    "rankings", METADATA,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("key", sa.String(64), nullable=False),
    sa.Column("created_at", sa.Float, nullable=False, index=True),
    sa.Column("answer", sa.LargeBinary, nullable=False),
    sa.Column("ask", sa.BigInteger),
)  # fmt: skip

# One row for each group that a client asked to have ranked: also if it failed, or the answer was in
# the store. `id` holds the moment (see `asks.ids`), so that the newest rows are the last ones; a
# failed group's `ranking_id` is made of it, and `rankings.ask` is the first ask for a ranking.
# `calls` are the calls behind the answer, as {content key: [index of the first trajectory that each
# body stands for]}, null where that is not known. `answer` is compressed, and null where it is the
# one in `rankings`. JSON lists have one item per trajectory. Statistics are null where it failed.
ASKS = sa.Table(
    "asks", METADATA,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    sa.Column("ranking_id", sa.String(64), nullable=False),
    sa.Column("run", sa.Text),
    sa.Column("step", sa.BigInteger),
    sa.Column("group_id", sa.Text),
    sa.Column("prompt_id", sa.Text),
    sa.Column("judge", sa.Text, nullable=False),
    sa.Column("code", sa.String(64)),
    sa.Column("kind", sa.Text),
    sa.Column("cached", sa.Boolean, nullable=False),
    sa.Column("reliability", sa.Float),
    sa.Column("spread", sa.Float),
    sa.Column("ties", sa.Float),
    sa.Column("agreement", sa.Float),
    sa.Column("mean_score", sa.Float),
    sa.Column("win_rate", sa.Float),
    sa.Column("verified", sa.Float),
    sa.Column("mean_length", sa.Float),
    sa.Column("truncated", sa.Integer),
    sa.Column("longest_wins", sa.Boolean),
    sa.Column("check_disagrees", sa.Boolean),
    sa.Column("latency_s", sa.Float),
    sa.Column("cost_usd", sa.Float),
    sa.Column("tokens", sa.BigInteger, nullable=False),
    sa.Column("num_trajectories", sa.Integer, nullable=False),
    sa.Column("model", sa.Text),
    sa.Column("method", sa.Text),
    sa.Column("passes", sa.Integer),
    sa.Column("api_key_id", sa.String(16)),
    sa.Column("request_id", sa.String(64)),
    sa.Column("prompt", sa.Text),
    sa.Column("flags", sa.Text),
    sa.Column("ids", sa.LargeBinary, nullable=False),
    sa.Column("rewards", sa.LargeBinary),
    sa.Column("lengths", sa.LargeBinary),
    sa.Column("problem", sa.LargeBinary),
    sa.Column("metadata", sa.LargeBinary),
    sa.Column("calls", sa.LargeBinary),
    sa.Column("transcript", sa.LargeBinary(32)),
    sa.Column("answer", sa.LargeBinary),
    sa.Column("again_of", sa.BigInteger),
    sa.Column("flip_order", sa.Boolean, nullable=False, server_default=sa.false()),
    # With what the list of runs sums up, which it reads in the index alone.
    sa.Index("asks_by_run", "run", "step", "id", "code", "cost_usd", "tokens"),
    sa.Index("asks_by_judge", "judge", "id"),
    sa.Index("asks_by_group", "group_id", "id"),
    sa.Index("asks_by_prompt", "prompt_id", "id"),
    sa.Index(
        "asks_by_code", "code", "id",
        sqlite_where=sa.text("code IS NOT NULL"), postgresql_where=sa.text("code IS NOT NULL"),
    ),
    sa.Index(
        "asks_by_first", "again_of", "id",
        sqlite_where=sa.text("again_of IS NOT NULL"),
        postgresql_where=sa.text("again_of IS NOT NULL"),
    ),
)  # fmt: skip

# Groups as they were sent, without ids and metadata, each once, compressed, by the sha256 of the
# JSON. `used_at` is when an ask last needed it, or up to `TOUCH_S` before.
TRANSCRIPTS = sa.Table(
    "transcripts", METADATA,
    sa.Column("key", sa.LargeBinary(32), primary_key=True),
    sa.Column("used_at", sa.Double, nullable=False, index=True),
    sa.Column("content", sa.LargeBinary, nullable=False),
)  # fmt: skip
TOUCH_S = 3600.0

# How people ordered the attempts of a group; one order per person, named by the API key. `tiers`
# are the trajectories by index, best first; those of a tier are equal. `ids` and `group_id` are
# those of `ask`, on whose page the order was given; `is_blind` tells whether no ranking was in
# sight.
GOLD = sa.Table(
    "gold", METADATA,
    sa.Column("transcript", sa.LargeBinary(32), primary_key=True),
    sa.Column("api_key_id", sa.String(16), primary_key=True),
    sa.Column("person", sa.Text, nullable=False),
    sa.Column("made_at", sa.Double, nullable=False, index=True),
    sa.Column("ask", sa.BigInteger, nullable=False),
    sa.Column("group_id", sa.Text),
    sa.Column("ids", sa.LargeBinary, nullable=False),
    sa.Column("tiers", sa.LargeBinary, nullable=False),
    sa.Column("is_blind", sa.Boolean, nullable=False),
)  # fmt: skip

# Groups that people are to put in order without a ranking in sight, by the name of their set. `ask`
# is the one that was chosen.
GOLD_SETS = sa.Table(
    "gold_sets", METADATA,
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("transcript", sa.LargeBinary(32), primary_key=True),
    sa.Column("ask", sa.BigInteger, nullable=False, index=True),
    sa.Column("added_at", sa.Double, nullable=False),
)  # fmt: skip

# What people wrote about a ranking; `id` holds the moment, as an ask's does.
NOTES = sa.Table(
    "notes", METADATA,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    sa.Column("ranking_id", sa.String(64), nullable=False, index=True),
    sa.Column("api_key_id", sa.String(16), nullable=False),
    sa.Column("person", sa.Text, nullable=False),
    sa.Column("text", sa.Text, nullable=False),
)  # fmt: skip

# The process that asks about a content key now, and when each process recorded its last heartbeat.
CLAIMS = sa.Table(
    "claims", METADATA,
    sa.Column("key", sa.String(64), primary_key=True),
    sa.Column("owner", sa.String(32), nullable=False),
)  # fmt: skip
OWNERS = sa.Table(
    "owners", METADATA,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("seen_at", sa.Double, nullable=False),
)  # fmt: skip

# The quotas that all processes share, by account: the requests in a window, which opened with the
# first of them; the level of a bucket at a moment; the micro-dollars of a period, whose start is a
# part of the name.
WINDOWS = _quota_table("windows", opened_at=sa.Double, number=sa.BigInteger)
BUCKETS = _quota_table("buckets", level=sa.Double, at=sa.Double)
SPENDING = _quota_table("spending", reserved=sa.BigInteger, settled=sa.BigInteger)

# What paid calls cost, by UTC day, API key, judge and run; "" where there is no key or no run.
# `cost_usd` is null while none of the calls had a price.
LEDGER = sa.Table(
    "ledger", METADATA,
    sa.Column("day", sa.String(10), primary_key=True),
    sa.Column("api_key_id", sa.String(16), primary_key=True),
    sa.Column("judge", sa.Text, primary_key=True),
    sa.Column("run", sa.Text, primary_key=True),
    sa.Column("calls", sa.BigInteger, nullable=False),
    sa.Column("tokens", sa.BigInteger, nullable=False),
    sa.Column("cost_usd", sa.Double),
)  # fmt: skip

# API keys, without their secrets. A revoked key stays, because a store that ever had a key is
# guarded.
API_KEYS = sa.Table(
    "api_keys", METADATA,
    sa.Column("id", sa.String(16), primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("owner", sa.Text, nullable=False, server_default=""),
    sa.Column("secret_sha256", sa.LargeBinary(32), nullable=False),
    sa.Column("scopes", sa.Text, nullable=False),
    sa.Column("requests_per_minute", sa.Integer),
    sa.Column("spend_usd", sa.Float),
    sa.Column("spend_per", sa.String(8)),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("expires_at", sa.Float),
    sa.Column("revoked_at", sa.Float),
)  # fmt: skip
