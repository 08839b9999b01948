"""Shares of a network of two views, and the threshold of its score that an assessment was written beside.

Revision 0002, after 0001.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go up."""
    with op.batch_alter_table("results", schema=None) as batch_op:
        batch_op.add_column(sa.Column("share_cc", sa.Double(), nullable=True))
        batch_op.add_column(sa.Column("share_mlo", sa.Double(), nullable=True))
    with op.batch_alter_table("assessments", schema=None) as batch_op:
        batch_op.add_column(sa.Column("threshold", sa.Double(), nullable=True))


def downgrade() -> None:
    """Go back."""
    with op.batch_alter_table("assessments", schema=None) as batch_op:
        batch_op.drop_column("threshold")
    with op.batch_alter_table("results", schema=None) as batch_op:
        batch_op.drop_column("share_mlo")
        batch_op.drop_column("share_cc")
