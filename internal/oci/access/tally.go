package access

import "github.com/berthregistry/berth/internal/rbac"

// count counts a decision, by kinds of callers and projects and never by their names.
func (a *Access) count(ask ask, question rbac.Question, action rbac.Action, outcome rbac.Outcome) {
	// The question of a token that is for some repositories only does not say that its owner is an admin.
	question.Kind, question.Admin = ask.id.Credential.Principal.Kind, ask.id.Credential.Principal.Admin
	question.Action = action
	a.tally.Count(question, outcome)
}

// countVerdict counts what a request was told: of several actions that would each do, the first that was granted.
func (a *Access) countVerdict(ask ask, v verdict) {
	switch {
	case len(v.granted) > 0:
		a.count(ask, v.question, v.granted[0], rbac.Allowed)
	case len(v.permitted) > 0:
		a.count(ask, v.question, v.permitted[0], rbac.OutOfScope)
	default:
		a.count(ask, v.question, ask.first(), rbac.Denied)
	}
}
