package gc

import (
	"context"

	"github.com/google/uuid"
)

// PurgeHistory is the step of a collection that has found a repository to purge, and deletes its history.
func (c *Collector) PurgeHistory(ctx context.Context, id uuid.UUID) (int64, error) {
	return (&run{Collector: c}).purgeHistory(ctx, id)
}
