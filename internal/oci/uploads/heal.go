package uploads

import (
	"github.com/berthregistry/berth/internal/database"
)

// healed is the blob of digest $1 that the session $2 heals.
const healed = `(SELECT id FROM blobs WHERE digest = $1 AND healed_by = $2)`

var (
	// healBlob is a compare-and-set: of all who push the content of a damaged blob at once, one heals it. What scrubs or
	// compacts the old chunks at this moment finds another generation.
	healBlob = database.SQL(`
		UPDATE blobs SET generation = generation + 1, damaged_at = NULL, healed_by = $2, size = $3
		WHERE digest = $1 AND damaged_at IS NOT NULL AND id <> $2`)
	doomDamaged = database.SQL(`
		INSERT INTO doomed_objects (object_key, size, delete_after)
		SELECT object_key, size, {bigint:$3} FROM chunks WHERE owner_id = ` + healed + `
		ON CONFLICT (object_key) DO NOTHING`)
	deleteDamaged = database.SQL(`DELETE FROM chunks WHERE owner_id = ` + healed)
	moveChunks    = database.SQL(`UPDATE chunks SET owner_id = ` + healed + ` WHERE owner_id = $2 AND EXISTS ` + healed)
	compactHealed = database.SQL(`
		INSERT INTO blob_compactions (blob_id, chunks, due_at)
		SELECT id, {bigint:$3}, 0 FROM blobs WHERE digest = $1 AND healed_by = $2 ON CONFLICT (blob_id) DO NOTHING`)
	endFinding = database.SQL(`
		UPDATE scrub_findings SET ended_at = $3, outcome = 'healed'
		WHERE subject = $1 AND ended_at IS NULL AND EXISTS ` + healed)
)

// heal adds to b what gives a damaged blob of this content the session's chunks in the place of its own, for all
// repositories that link to it. Where no blob is damaged, it changes nothing. The old objects stay for BERTH_SCRUB_KEEP.
func (s *Service) heal(b *database.Batch, sess *session, c change) {
	d := string(c.digest)
	b.Exec(healBlob, d, sess.id, c.committed.offset)
	b.Exec(doomDamaged, d, sess.id, database.ToMicros(s.Clock().Add(max(s.SweepDelay, s.KeepDamaged))))
	b.Exec(deleteDamaged, d, sess.id)
	b.Exec(moveChunks, d, sess.id)
	if n := sess.chunksAfter(c); n > 1 {
		b.Exec(compactHealed, d, sess.id, n)
	}
	b.Exec(endFinding, d, sess.id, s.now())
}
