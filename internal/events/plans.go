package events

import "github.com/berthregistry/berth/internal/database"

// Statements are all that append to the outbox, by name: a test holds that none of them needs to look at a whole table.
func Statements() map[string]database.Stmt {
	return map[string]database.Stmt{
		"append": appendEvent, "append quota": appendQuota, "mark quota": markQuota, "append move": appendMove,
		"append tag deletion": appendTagDeletion, "append tag deletions": appendTagDeletions, "append shown tags": appendShownTags,
		"append tags of repository": appendTagsOfRepository, "append manifests of repository": appendManifestsOfRepository,
	}
}
