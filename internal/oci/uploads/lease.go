package uploads

import (
	"context"
	"time"
)

// awaitLease reads the session and waits until no other replica's writer holds it. A lease under the fence inherited
// is that of a writer which this replica has stopped, and free to take.
func (s *Service) awaitLease(ctx context.Context, sess *session, inherited int64) error {
	for {
		if err := sess.load(ctx, s.DB); err != nil {
			return err
		}
		if sess.leaseLeft == 0 || sess.status != statusOpen || (inherited > 0 && sess.fence == inherited) {
			return nil
		}
		timer := time.NewTimer(sess.leaseLeft)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		}
	}
}
