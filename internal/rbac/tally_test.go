package rbac_test

import (
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/berthregistry/berth/internal/rbac"
)

func TestTallyCountsEachCaseOnItsOwn(t *testing.T) {
	t.Parallel()
	tally := rbac.NewTally()
	pull := rbac.Question{Kind: rbac.KindRunner, State: rbac.StateActive, Visibility: rbac.Public, Action: rbac.Pull}
	push := rbac.Question{Kind: rbac.KindUser, Admin: true, State: rbac.StateDeleted, Action: rbac.Push}
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 100 {
				tally.Count(pull, rbac.Allowed)
			}
			tally.Count(push, rbac.Denied)
			tally.Count(rbac.Question{Action: "dance"}, rbac.Denied)
		})
	}
	group.Wait()
	tally.Count(rbac.Question{Kind: "stranger", Action: rbac.Administer}, rbac.Challenged)
	want := []rbac.Decisions{
		{Principal: "anonymous", Project: "absent", Action: rbac.Administer, Outcome: rbac.Challenged, Count: 1},
		{Principal: "runner", Project: "active-public", Action: rbac.Pull, Outcome: rbac.Allowed, Count: 800},
		{Principal: "admin", Project: "absent", Action: rbac.Push, Outcome: rbac.Denied, Count: 8},
	}
	if diff := cmp.Diff(want, tally.Stats()); diff != "" {
		t.Error(diff)
	}
}

func TestCountingAllocatesNothing(t *testing.T) { //nolint:paralleltest // counts allocations
	tally, question := rbac.NewTally(), rbac.Question{Kind: rbac.KindUser, State: rbac.StateActive, Action: rbac.Pull}
	if n := testing.AllocsPerRun(100, func() { tally.Count(question, rbac.Allowed) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestNoTallyCountsNothing(t *testing.T) {
	t.Parallel()
	var tally *rbac.Tally
	tally.Count(rbac.Question{Action: rbac.Pull}, rbac.Allowed)
	if stats := tally.Stats(); stats != nil {
		t.Errorf("stats %v", stats)
	}
}

func TestKindsOfProjects(t *testing.T) {
	t.Parallel()
	for want, project := range map[string]rbac.Question{
		"unclaimed": {State: rbac.StateUnclaimed}, "suspended": {State: rbac.StateSuspended, Visibility: rbac.Public},
		"active-public": {State: rbac.StateActive, Visibility: rbac.Public}, "active-private": {State: rbac.StateActive},
		"absent": {State: rbac.StateAbsent},
	} {
		if got := rbac.ProjectKind(project.State, project.Visibility); got != want {
			t.Errorf("%+v: %s", project, got)
		}
	}
}
