"""Jobs whose cutover has shut their source down are found at once: every page of the console asks for them."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_DOWN = sa.text("down_since IS NOT NULL")


def upgrade() -> None:
    op.create_index(
        "ix_jobs_down", "jobs", ["down_since", "status"], sqlite_where=_DOWN, postgresql_where=_DOWN
    )
