"""What a waiting picture shows, for those who teach how it is drawn."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0012"
down_revision: str | None = "0011"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("upload_captions", sa.Column("subject", sa.String(500), server_default="", nullable=False))


def downgrade() -> None:
    op.drop_column("upload_captions", "subject")
