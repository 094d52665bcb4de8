"""Indices with which a search costs the same among 10,000 sources and jobs as among 100."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for table, state in (("sources", "state"), ("jobs", "status")):
        op.drop_index(f"ix_{table}_created", table)
        op.create_index(f"ix_{table}_page", table, ["created", "id", state])
    op.create_index("ix_sources_vcenter", "sources", ["vcenter", "error_code", "state"])
    op.create_index("ix_jobs_region_page", "jobs", ["region", "created", "id", "status"])
    op.drop_index("ix_jobs_source_id", "jobs")
    op.create_index("ix_jobs_source_type", "jobs", ["source_id", "job_type"])
    op.drop_index("ix_tags_key_value", "tags")
    op.create_index("ix_tags_owner", "tags", ["key", "value", "kind", "resource_id"])
