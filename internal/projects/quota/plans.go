package quota

import "github.com/berthregistry/berth/internal/database"

// Statements are all of quotas and of the ledger, by name: a test holds that none of them needs to look at a whole table.
func Statements() map[string]database.Stmt {
	return map[string]database.Stmt{
		"project fits": requireProject, "account fits": requireAccount, "project fits with": requireProjectDelta,
		"account fits with": requireAccountDelta, "room": roomOf,
		"add blob": addBlob, "remove blob": removeBlob, "add manifest": addManifest, "remove manifest": removeManifest,
		"remove repository": removeRepository, "add deletion": addDeletion, "remove all": removeAll,
		"take deltas": takeDeltas, "add to totals": addToTotals, "drop deltas": dropDeltas, "drop deltas of": dropDeltasOf, "set total": setTotal,
	}
}
