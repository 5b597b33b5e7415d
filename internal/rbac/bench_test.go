package rbac

import "testing"

func BenchmarkAllow(b *testing.B) {
	e := newEnforcer(b, Options{UnclaimedPush: true})
	q := Question{Kind: KindUser, Role: RoleDeveloper, State: StateActive, Visibility: Private, Action: Push}
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if !e.Allow(q) {
				b.Error("denied")
				return
			}
		}
	})
}

func BenchmarkNew(b *testing.B) {
	for b.Loop() {
		if _, err := New(Options{UnclaimedPush: true}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkCasbin is what Allow would cost without the table.
func BenchmarkCasbin(b *testing.B) {
	policy, err := load(Options{})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if ok, err := policy.Enforce("developer", "private", string(Push)); !ok || err != nil {
			b.Fatal(ok, err)
		}
	}
}
