"""The tables, their constraints, and the partial indexes that keep the cycle's reads to open work."""

import sqlalchemy as sa

from orchestrator.tasks import TaskStatus

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(column_0_label)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)


def _statuses(statuses: frozenset[TaskStatus]) -> str:
    return ", ".join(f"'{s}'" for s in sorted(statuses))


def _partial(name: str, *columns: str, where: str, unique: bool = False) -> sa.Index:
    """An index over the rows where *where* holds, in the dialects that we know."""
    return sa.Index(
        name, *columns, unique=unique, sqlite_where=sa.text(where), postgresql_where=sa.text(where)
    )


Time = sa.Float
Text = sa.Text

repo = sa.Table(
    "repo",
    metadata,
    sa.Column("id", Text, primary_key=True),
    sa.Column("kind", Text, nullable=False),
    sa.Column("source", Text, nullable=False),
    sa.Column("path", Text, nullable=False),
    sa.Column("base_branch", Text, nullable=False, server_default=""),
    sa.Column("state", Text, nullable=False),
    sa.Column("error", Text, nullable=False, server_default=""),
    _partial("repo_pending", "id", where="state = 'pending'"),
)

project = sa.Table(
    "project",
    metadata,
    sa.Column("id", Text, primary_key=True),
    sa.Column("repo_id", Text, sa.ForeignKey("repo.id")),
    sa.Column("created_at", Time, nullable=False),
    sa.Column("paused", sa.Boolean, nullable=False),
    sa.Column("credit_weight", sa.Float, nullable=False),
    sa.Column("max_concurrent_agents", sa.Integer, nullable=False),
    sa.Column("token_budget", sa.Integer),
    sa.Column("approval", Text, nullable=False),
    sa.Column("merge_strategy", Text, nullable=False),
    sa.Column("sandbox", Text, nullable=False, server_default="none"),
    sa.Column("test_commands", sa.JSON, nullable=False),
    sa.Column("setup_command", Text, nullable=False),
    sa.Column("copy_files", sa.JSON, nullable=False),
    sa.Column("run_timeout", sa.Float, nullable=False),
    sa.Column("max_retries", sa.Integer, nullable=False),
    sa.Column("failover", sa.Boolean, nullable=False, server_default=sa.false()),
)

binding = sa.Table(
    "binding",
    metadata,
    sa.Column("transport", Text, primary_key=True),
    sa.Column("channel", Text, primary_key=True),
    sa.Column(
        "project_id", Text, sa.ForeignKey("project.id", ondelete="CASCADE"), nullable=False, index=True
    ),
)

agent = sa.Table(
    "agent",
    metadata,
    sa.Column("id", Text, primary_key=True),
    sa.Column("type", Text, nullable=False),
    sa.Column("slots", sa.Integer, nullable=False),
    sa.Column("profile", Text, nullable=False, server_default=""),
    sa.Column("config", sa.JSON, nullable=False),
    sa.Column("created_at", Time, nullable=False),
    sa.Column("account", Text, nullable=False),
    sa.Column("kind", Text, nullable=False),
)

agent_account = sa.Table(  # `account` has the accounts of people
    "agent_account",
    metadata,
    sa.Column("id", Text, primary_key=True),
    sa.Column("state", Text, nullable=False),
    sa.Column("reason", Text, nullable=False, server_default=""),
    sa.Column("resets_at", Time),
    sa.Column("strikes", sa.Integer, nullable=False, server_default="0"),
    sa.Column("used", sa.Float),
    sa.Column("window_words", Text, nullable=False, server_default=""),
    sa.Column("updated_at", Time, nullable=False),
    sa.Column("canary", Text, nullable=False, server_default=""),
    sa.Column("canary_run", Text, nullable=False, server_default=""),
    sa.CheckConstraint("state IN ('ok', 'limited', 'trying')", name="state"),
    _partial("agent_account_closed", "id", where="state <> 'ok'"),
)

task = sa.Table(
    "task",
    metadata,
    sa.Column("id", Text, primary_key=True),
    sa.Column("project_id", Text, sa.ForeignKey("project.id", ondelete="CASCADE"), nullable=False),
    sa.Column("title", Text, nullable=False),
    sa.Column("body", Text, nullable=False, server_default=""),
    sa.Column("status", Text, nullable=False),
    sa.Column("priority", sa.Integer, nullable=False),
    sa.Column("created_at", Time, nullable=False),
    sa.Column("updated_at", Time, nullable=False),
    sa.Column("requested_by", Text, nullable=False, server_default=""),
    sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
    sa.Column("failures", sa.Integer, nullable=False, server_default="0"),
    sa.Column("max_retries", sa.Integer, nullable=False),
    sa.Column("not_before", Time),
    sa.Column("reason", Text, nullable=False, server_default=""),
    sa.Column("feedback", Text, nullable=False, server_default=""),
    sa.Column("tests_returned", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("branch", Text, nullable=False, server_default=""),
    sa.Column("base_commit", Text, nullable=False, server_default=""),
    sa.Column("approved_by", Text, nullable=False, server_default=""),
    sa.Column("alerted_at", Time),
    sa.Column("agent_id", Text, nullable=False, server_default=""),
    sa.Column("pinned", sa.Boolean, nullable=False, server_default=sa.false()),
    # How many needed tasks are not COMPLETED; kept by store.tasks, so that promotion needs no search.
    sa.Column("unmet", sa.Integer, nullable=False, server_default="0"),
    sa.CheckConstraint(f"status IN ({_statuses(frozenset(TaskStatus))})", name="status"),
    sa.Index("task_recent", "created_at", "id"),
    sa.Index("task_by_project", "project_id", "created_at", "id"),
    _partial(
        "task_open",
        "status",
        "project_id",
        "agent_id",
        "priority",
        "created_at",
        where="status <> 'COMPLETED'",
    ),
    _partial("task_approved", "id", where="status = 'AWAITING_APPROVAL' AND approved_by <> ''"),
    _partial("task_promotable", "id", where="status = 'DEFINED' AND unmet = 0"),
    _partial("task_resting", "not_before", where="status = 'PAUSED' AND not_before IS NOT NULL"),
)

dependency = sa.Table(
    "dependency",
    metadata,
    sa.Column("task_id", Text, sa.ForeignKey("task.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("needs", Text, sa.ForeignKey("task.id", ondelete="CASCADE"), primary_key=True, index=True),
)

task_event = sa.Table(
    "task_event",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("task_id", Text, sa.ForeignKey("task.id", ondelete="CASCADE"), nullable=False, index=True),
    sa.Column("at", Time, nullable=False),
    sa.Column("event", Text, nullable=False),
    sa.Column("status", Text, nullable=False),
    sa.Column("detail", Text, nullable=False, server_default=""),
)

run = sa.Table(
    "run",
    metadata,
    sa.Column("id", Text, primary_key=True),
    sa.Column("task_id", Text, sa.ForeignKey("task.id", ondelete="CASCADE"), nullable=False),
    sa.Column("project_id", Text, nullable=False),
    sa.Column("agent_id", Text, nullable=False),
    sa.Column("epoch", sa.Integer, nullable=False),
    sa.Column("created_at", Time, nullable=False),
    sa.Column("deadline", Time, nullable=False),
    sa.Column("journal_offset", sa.Integer, nullable=False, server_default="0"),
    sa.Column("seen_at", Time, nullable=False, server_default="0"),
    sa.Column("care", Text, nullable=False, server_default=""),
    sa.Column("care_at", Time, nullable=False, server_default="0"),
    sa.Column("session_id", Text),
    sa.Column("tokens", sa.Integer, nullable=False, server_default="0"),
    sa.Column("cost", sa.Float, nullable=False, server_default="0"),
    sa.Column("reserved_tokens", sa.Float, nullable=False, server_default="0"),
    sa.Column("reserved_cost", sa.Float, nullable=False, server_default="0"),
    sa.Column("ended_at", Time),
    sa.Column("outcome", Text, nullable=False, server_default=""),
    sa.Column("result", Text, nullable=False, server_default=""),
    sa.UniqueConstraint("task_id", "epoch"),
    sa.Index("run_recent", "project_id", "ended_at"),
    sa.Index("run_ended", "ended_at"),
    _partial("run_live", "task_id", where="ended_at IS NULL", unique=True),
    _partial("run_live_agent", "agent_id", where="ended_at IS NULL"),
)

workspace = sa.Table(
    "workspace",
    metadata,
    sa.Column("run_id", Text, sa.ForeignKey("run.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("repo_id", Text, sa.ForeignKey("repo.id"), nullable=False),
    sa.Column("task_id", Text, nullable=False, unique=True),
    sa.Column("path", Text, nullable=False, unique=True),
    sa.Column("branch", Text, nullable=False),
    sa.UniqueConstraint("repo_id", "branch"),
)

message = sa.Table(
    "message",
    metadata,
    sa.Column("id", Text, primary_key=True),
    sa.Column("task_id", Text, sa.ForeignKey("task.id", ondelete="CASCADE"), nullable=False),
    sa.Column("run_id", Text, nullable=False, server_default=""),
    sa.Column("at", Time, nullable=False),
    sa.Column("author", Text, nullable=False),
    sa.Column("text", Text, nullable=False),
    sa.Column("mode", Text, nullable=False),
    sa.Column("request_id", Text, nullable=False, server_default=""),
    sa.Column("state", Text, nullable=False),
    sa.Column("files", sa.JSON, nullable=False, server_default="[]"),
    sa.Column("transport", Text, nullable=False, server_default=""),
    sa.Column("channel", Text, nullable=False, server_default=""),
    sa.Column("root", Text),
    sa.Column("remote", Text, nullable=False, server_default=""),
    _partial("message_open", "task_id", "at", where="state IN ('queued', 'sent', 'kept')"),
)

question = sa.Table(
    "question",
    metadata,
    sa.Column("id", Text, primary_key=True),
    sa.Column("task_id", Text, sa.ForeignKey("task.id", ondelete="CASCADE"), nullable=False, index=True),
    sa.Column("run_id", Text, nullable=False),
    sa.Column("request_id", Text, nullable=False),
    sa.Column("text", Text, nullable=False),
    sa.Column("choices", sa.JSON, nullable=False),
    sa.Column("asked_at", Time, nullable=False),
    sa.Column("answer", Text),
    sa.Column("answered_by", Text, nullable=False, server_default=""),
    sa.Column("state", Text, nullable=False),
    sa.Column("wish", sa.JSON),
    sa.Column("fingerprint", Text, nullable=False),
    sa.Column("by", Text, nullable=False),
    sa.Column("allowed_by", Text, nullable=False, server_default=""),
    sa.Column("granted", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("reminded", sa.Integer, nullable=False, server_default="0"),
    _partial("question_open", "task_id", "asked_at", where="state IN ('open', 'kept')"),
)

policy_rule = sa.Table(
    "policy_rule",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column(
        "project_id", Text, sa.ForeignKey("project.id", ondelete="CASCADE"), nullable=False, index=True
    ),
    sa.Column("place", sa.Integer, nullable=False),
    sa.Column("effect", Text, nullable=False),
    sa.Column("tool", Text, nullable=False),
    sa.Column("path", Text, nullable=False),
    sa.Column("command", Text, nullable=False),
    sa.Column("by", Text, nullable=False),
)

usage = sa.Table(
    "usage",
    metadata,
    sa.Column("project_id", Text, sa.ForeignKey("project.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("hour", sa.Integer, primary_key=True),
    sa.Column("tokens", sa.Integer, nullable=False),
    sa.Column("cost", sa.Float, nullable=False),
    sa.Column("finished", sa.Integer, nullable=False),
    sa.Index("usage_hour", "hour"),
)

spending = sa.Table(
    "spending",
    metadata,
    sa.Column("day", sa.Integer, primary_key=True),
    # No foreign keys: what was used stays known when its task or project is deleted.
    sa.Column("project_id", Text, primary_key=True),
    sa.Column("agent_id", Text, primary_key=True),
    sa.Column("person_id", Text, primary_key=True),
    sa.Column("task_id", Text, primary_key=True),
    sa.Column("model", Text, primary_key=True),
    sa.Column("tokens", sa.Integer, nullable=False),
    sa.Column("cost", sa.Float, nullable=False),
    sa.Column("calls", sa.Integer, nullable=False),
    sa.Index("spending_task", "task_id"),
)

model_call = sa.Table(
    "model_call",
    metadata,
    sa.Column("task_id", Text, primary_key=True),
    sa.Column("call_id", Text, primary_key=True),
    sa.Column("at", Time, nullable=False),
    sa.Index("model_call_at", "at"),
)

budget = sa.Table(
    "budget",
    metadata,
    sa.Column("scope", Text, primary_key=True),
    sa.Column("of", Text, primary_key=True),
    sa.Column("unit", Text, primary_key=True),
    sa.Column("amount", sa.Float, nullable=False),
    sa.Column("told", sa.Integer, nullable=False),
    sa.Column("told_on", sa.Integer, nullable=False),
)

thread = sa.Table(
    "thread",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("task_id", Text, sa.ForeignKey("task.id", ondelete="CASCADE"), nullable=False),
    sa.Column("transport", Text, nullable=False),
    sa.Column("channel", Text, nullable=False),
    sa.Column("root", Text),
    sa.UniqueConstraint("task_id", "transport", "channel"),
    sa.Index("thread_root", "transport", "channel", "root"),
    sqlite_autoincrement=True,  # keys and lanes are made of the id: it is never given again
)

inbox = sa.Table(
    "inbox",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("transport", Text, nullable=False),
    sa.Column("event_id", Text, nullable=False),
    sa.Column("lane", Text, nullable=False),
    sa.Column("event", sa.JSON, nullable=False),
    sa.Column("at", Time, nullable=False),
    sa.Column("state", Text, nullable=False),
    sa.UniqueConstraint("transport", "event_id"),
    _partial("inbox_new", "lane", "id", where="state = 'new'"),
)

watermark = sa.Table(
    "watermark",
    metadata,
    sa.Column("transport", Text, primary_key=True),
    sa.Column("scope", Text, primary_key=True),
    sa.Column("value", Text, nullable=False),
)

outbox = sa.Table(
    "outbox",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("transport", Text, nullable=False),
    sa.Column("lane", Text, nullable=False),
    sa.Column("key", Text, nullable=False),
    sa.Column("op", Text, nullable=False),
    sa.Column("channel", Text, nullable=False),
    sa.Column("thread_id", sa.Integer),
    sa.Column("root", Text),
    sa.Column("subject", Text, nullable=False, server_default=""),
    sa.Column("urgency", sa.Integer, nullable=False),
    sa.Column("post", sa.JSON, nullable=False),
    sa.Column("at", Time, nullable=False),
    sa.Column("state", Text, nullable=False),
    sa.UniqueConstraint("transport", "key"),
    sa.Index("outbox_key", "key"),
    _partial("outbox_ready", "transport", "lane", "id", where="state = 'ready'"),
    _partial("outbox_done", "at", where="state = 'cut'"),
)

wire = sa.Table(
    "wire",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column(
        "outbox_id", sa.Integer, sa.ForeignKey("outbox.id", ondelete="CASCADE"), nullable=False, index=True
    ),
    sa.Column("transport", Text, nullable=False),
    sa.Column("lane", Text, nullable=False),
    sa.Column("key", Text, nullable=False),
    sa.Column("op", Text, nullable=False),
    sa.Column("channel", Text, nullable=False),
    sa.Column("thread_id", sa.Integer),
    sa.Column("root", Text),
    sa.Column("subject", Text, nullable=False),
    sa.Column("urgency", sa.Integer, nullable=False),
    sa.Column("payload", sa.JSON, nullable=False),
    sa.Column("state", Text, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("not_before", Time),
    sa.Column("sent_at", Time),
    sa.Column("unsure_since", Time),
    sa.Column("remote_id", Text),
    sa.Column("error", Text, nullable=False, server_default=""),
    sa.UniqueConstraint("transport", "key"),
    _partial("wire_open", "transport", "lane", "id", where="state IN ('ready', 'sending', 'held')"),
    _partial("wire_remote", "transport", "remote_id", where="remote_id IS NOT NULL"),
    _partial("wire_edits", "transport", "subject", "id", where="op = 'edit'"),
)

action = sa.Table(
    "action",
    metadata,
    sa.Column("id", Text, primary_key=True),
    sa.Column("card", Text, nullable=False, index=True),
    sa.Column("label", Text, nullable=False),
    sa.Column("line", Text, nullable=False),
    sa.Column("role", sa.Integer, nullable=False),
    sa.Column("form", sa.JSON, nullable=False),
    sa.Column("task_id", Text),
    sa.Column("at", Time, nullable=False),
    sa.Column("settled_by", Text),
)

person = sa.Table(
    "person",
    metadata,
    sa.Column("id", Text, primary_key=True),
    sa.Column("role", sa.Integer, nullable=False),
    sa.Column("source", Text, nullable=False),
)

account = sa.Table(
    "account",
    metadata,
    sa.Column("transport", Text, primary_key=True),
    sa.Column("account", Text, primary_key=True),
    sa.Column("person_id", Text, sa.ForeignKey("person.id", ondelete="CASCADE"), nullable=False, index=True),
    sa.Column("source", Text, nullable=False),
)

pairing = sa.Table(
    "pairing",
    metadata,
    sa.Column("transport", Text, primary_key=True),
    sa.Column("account", Text, primary_key=True),
    sa.Column("name", Text, nullable=False),
    sa.Column("code", Text, nullable=False, unique=True),
    sa.Column("expires_at", Time, nullable=False),
    sa.Column("told_at", Time, nullable=False),
)

audit = sa.Table(
    "audit",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("at", Time, nullable=False),
    sa.Column("who", Text, nullable=False),
    sa.Column("what", Text, nullable=False),
    sa.Column("verdict", Text, nullable=False),
    sa.Column("detail", Text, nullable=False, server_default=""),
    sa.Column("project_id", Text, nullable=False, server_default=""),
    sa.Column("task_id", Text, nullable=False, server_default=""),
    sa.Index("audit_who", "who", "id"),
)

flag = sa.Table(
    "flag",
    metadata,
    sa.Column("name", Text, primary_key=True),
    sa.Column("value", sa.JSON, nullable=False),
)

transcript = sa.Table(
    "transcript",
    metadata,
    sa.Column("seq", sa.Integer, primary_key=True),
    sa.Column("transport", Text, nullable=False),
    sa.Column("id", Text, nullable=False),
    sa.Column("channel", Text, nullable=False),
    sa.Column("root", Text),
    sa.Column("key", Text, nullable=False),
    sa.Column("author", Text, nullable=False),
    sa.Column("content", sa.JSON, nullable=False),
    sa.Column("at", Time, nullable=False),
    sa.UniqueConstraint("transport", "key"),
    sa.UniqueConstraint("transport", "id"),
    sa.Index("transcript_thread", "transport", "channel", "root", "seq"),
    sqlite_autoincrement=True,
)
