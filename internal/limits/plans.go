package limits

import "github.com/berthregistry/berth/internal/database"

// Statements are all that read or change a table, by name, but the one that reads every override there is: a test holds
// that none of them needs to look at a whole table.
func Statements() map[string]database.Stmt {
	all := map[string]database.Stmt{
		"record creation": recordCreation, "creation before": creationBefore, "old sessions": oldestSessions, "lock account": lockAccount,
		"allowed": allowedOf, "account": accountOf, "clear overrides": clearOverrides, "overrides": overridesOf,
		"version": version, "raise version": raiseVersion, "old activity": oldActivity, "old creations": oldCreations,
		"pushers by network": pushersByNetwork, "pushers by project": pushersByProject,
	}
	for kind, counts := range countsOf {
		all["is there "+string(kind)] = subjects[kind]
		if stmt, has := quotas[kind]; has {
			all["quota of "+string(kind)], all["set quota of "+string(kind)] = stmt, setQuotas[kind]
		}
		for _, count := range counts {
			all["require "+count.Name], all["number of "+count.Name] = count.require, count.numbers
		}
	}
	all["require restored projects"], all["number of restored projects"] = restored.require, restored.numbers
	all["require shown tags"], all["number of shown tags"] = shownTags.require, shownTags.numbers
	return all
}
