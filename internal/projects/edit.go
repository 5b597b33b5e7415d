package projects

import (
	"context"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/berthregistry/berth/internal/audit"
	"github.com/berthregistry/berth/internal/database"
)

var (
	// The changes of a project follow each other. The lock comes even before the guard, which shares the row: two
	// transactions that share it could not both go on to change it.
	lockProject = database.SQL(`SELECT 1 FROM projects WHERE id = $1 {update}`)
	liveProject = database.SQL(`
		SELECT 1 FROM projects
		WHERE id = $1 AND state <> 'deleted' AND (state <> 'unclaimed' OR expires_at IS NULL OR expires_at > $2)`)
	thisVersion = database.SQL(`SELECT 1 FROM projects WHERE id = $1 AND version = $2`)
)

// begin is how the transaction of every change begins: the project is locked, and what the guard says still holds.
func begin(guard Guard, id uuid.UUID) *database.Batch {
	b := &database.Batch{}
	b.Exec(lockProject, id)
	if guard != nil {
		guard.Require(b)
	}
	return b
}

// beginLive is begin for a project that is there: not deleted, not expired. The batch fails with ErrNotFound.
func (s *Service) beginLive(guard Guard, id uuid.UUID) *database.Batch {
	b := begin(guard, id)
	b.Require(ErrNotFound, liveProject, id, database.ToMicros(s.now()))
	return b
}

// requireVersion adds that the project has the version that the caller has seen; 0 is any. The batch fails with ErrVersion.
func requireVersion(b *database.Batch, id uuid.UUID, version int64) {
	if version != 0 {
		b.Require(ErrVersion, thisVersion, id, version)
	}
}

// entry adds to b the entry of a change of the project itself to the audit log.
func entry(ctx context.Context, b *database.Batch, action string, id uuid.UUID, detail any) uuid.UUID {
	return audit.Append(ctx, b, audit.Entry{Action: action, Project: id, Object: id.String(), Detail: detail})
}

// commit runs the transaction of a change.
func (s *Service) commit(ctx context.Context, b *database.Batch, id uuid.UUID) error {
	err := s.explained(ctx, s.db.Run(ctx, b))
	s.Forget(id) // also after a failure, which may be unclear or show that what is remembered is out of date
	return err
}

// commitProject is commit, and gives the project as it is then.
func (s *Service) commitProject(ctx context.Context, b *database.Batch, id uuid.UUID) (Project, error) {
	var p Project
	b.Query(func(r database.Rows) (err error) {
		p, err = scanProject(r)
		return err
	}, projectByID, id)
	if err := s.commit(ctx, b, id); err != nil {
		return Project{}, err
	}
	return p, nil
}

// maxText bounds what people write about a project, in characters.
const maxText = 1000

// validText checks a field of free text. Errors: *InputError.
func validText(field, text string) error {
	switch {
	case !utf8.ValidString(text) || strings.ContainsRune(text, 0):
		return &InputError{Field: field, Reason: "it is not text"}
	case utf8.RuneCountInString(text) > maxText:
		return &InputError{Field: field, Reason: fmt.Sprintf("it is longer than %d characters", maxText)}
	}
	return nil
}
