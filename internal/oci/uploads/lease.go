package uploads

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/berthregistry/berth/internal/database"
)

// alone reads the session and makes sure that no other writer holds it: it waits for that of another replica, and takes
// over what a writer left behind that has gone without a word or was stopped by this request.
func (s *Service) alone(ctx context.Context, sess *session, inherited int64) error {
	for range maxRaces {
		if err := s.awaitLease(ctx, sess, inherited); err != nil {
			return err
		}
		if !sess.leased || sess.status != statusOpen {
			return nil
		}
		err := s.takeOver(ctx, sess)
		if !errors.Is(err, errStale) {
			return err
		}
	}
	return errStale
}

// takeOver raises the fence, so that the writer which had the lease can commit no more, and ends the lease: this
// request may end without a commit of its own.
func (s *Service) takeOver(ctx context.Context, sess *session) error {
	b := &database.Batch{}
	b.Require(errStale, takeLease, sess.id, sess.fence)
	if err := s.DB.Run(ctx, b); err != nil {
		return fmt.Errorf("take over upload lease: %w", err)
	}
	sess.fence++
	sess.leased, sess.leaseLeft = false, 0
	return nil
}

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
		timer := time.NewTimer(min(sess.leaseLeft, leasePoll)) // its writer may give it back earlier
		select {
		case <-timer.C:
		case <-s.writers.draining:
			timer.Stop()
			return errDraining
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		}
	}
}
