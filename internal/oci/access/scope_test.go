package access

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/berthregistry/berth/internal/rbac"
)

func TestParseScopes(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		in   []string
		want []string
	}{
		"none":                         {nil, nil},
		"empty":                        {[]string{"", " "}, nil},
		"one":                          {[]string{"repository:demo/app:pull"}, []string{"repository:demo/app:pull"}},
		"canonical order":              {[]string{"repository:demo:push,pull"}, []string{"repository:demo:pull,push"}},
		"star is all":                  {[]string{"repository:demo:*"}, []string{"repository:demo:pull,push,delete"}},
		"star among others":            {[]string{"repository:demo:pull,*"}, []string{"repository:demo:pull,push,delete"}},
		"unknown actions":              {[]string{"repository:demo:fly,pull,,pull"}, []string{"repository:demo:pull"}},
		"only unknown actions":         {[]string{"repository:demo:fly"}, nil},
		"no action":                    {[]string{"repository:demo:"}, nil},
		"actions are case-sensitive":   {[]string{"repository:demo:PULL"}, nil},
		"unknown type":                 {[]string{"blob:demo:pull", "repository:demo:pull"}, []string{"repository:demo:pull"}},
		"class":                        {[]string{"repository(plugin):demo:pull"}, []string{"repository:demo:pull"}},
		"class not closed":             {[]string{"repository(plugin:demo:pull"}, nil},
		"text behind the class":        {[]string{"repository(a)b:demo:pull"}, nil},
		"space-joined":                 {[]string{"repository:a:pull repository:b:push"}, []string{"repository:a:pull", "repository:b:push"}},
		"repeated":                     {[]string{"repository:a:pull", "repository:b:push"}, []string{"repository:a:pull", "repository:b:push"}},
		"unioned":                      {[]string{"repository:a:pull", "repository:a:push repository(x):a:delete"}, []string{"repository:a:pull,push,delete"}},
		"no leak between repositories": {[]string{"repository:a:pull repository:b:push", "repository:a/b:delete"}, []string{"repository:a:pull", "repository:b:push", "repository:a/b:delete"}},
		"host and port":                {[]string{"repository:registry.example.dev:5000/demo/app:pull"}, []string{"repository:registry.example.dev:5000/demo/app:pull"}},
		"catalog":                      {[]string{"registry:catalog:*"}, []string{"registry:catalog:*"}},
		"catalog twice":                {[]string{"registry:catalog:*", "registry:catalog:search,*"}, []string{"registry:catalog:*"}},
		"catalog without star":         {[]string{"registry:catalog:pull"}, nil},
		"registry but not the catalog": {[]string{"registry:users:*"}, nil},
		"a repository called catalog":  {[]string{"repository:catalog:*"}, []string{"repository:catalog:pull,push,delete"}},
		"too few parts":                {[]string{"repository", "repository:", "repository:demo"}, nil},
		"no name":                      {[]string{"repository::pull"}, nil},
		"star as name":                 {[]string{"repository:*:pull"}, nil},
		"quote in name":                {[]string{`repository:a"b:pull`}, nil},
		"line break in name":           {[]string{"repository:a\nb:pull"}, nil},
		"tabs do not separate":         {[]string{"repository:a:pull\trepository:b:pull"}, nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			scopes, err := ParseScopes(tt.in...)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, texts(scopes)); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

func TestParseScopesIsBounded(t *testing.T) {
	t.Parallel()
	distinct := make([]string, MaxScopes)
	for i := range distinct {
		distinct[i] = "repository:r" + strings.Repeat("x", i) + ":pull"
	}
	if scopes, err := ParseScopes(distinct...); err != nil || len(scopes) != MaxScopes {
		t.Errorf("got %d scopes and error %v for as many as are allowed", len(scopes), err)
	}
	tests := map[string][]string{
		"resources":        append(slices.Clone(distinct), "repository:more:pull"),
		"one long value":   {"repository:" + strings.Repeat("a", MaxScopeLength) + ":pull"},
		"many values":      slices.Repeat([]string{"x"}, MaxScopeLength),
		"many empty ones":  make([]string, MaxScopeLength+1),
		"the same repeats": slices.Repeat([]string{"repository:demo:pull"}, MaxScopeLength/20),
	}
	for name, in := range tests {
		if scopes, err := ParseScopes(in...); !errors.Is(err, ErrScopeLimit) || scopes != nil {
			t.Errorf("%s: got %d scopes and error %v, want ErrScopeLimit", name, len(scopes), err)
		}
	}
}

func TestRepositoryScopeNamesWhatClientsNeed(t *testing.T) {
	t.Parallel()
	repo := Repo{Segment: "demo", Path: "app/web"}
	for action, want := range map[rbac.Action]string{
		rbac.Pull:   "repository:demo/app/web:pull",
		rbac.Push:   "repository:demo/app/web:pull,push",
		rbac.Delete: "repository:demo/app/web:delete",
	} {
		if got := RepositoryScope(repo, action).String(); got != want {
			t.Errorf("%s: got %s, want %s", action, got, want)
		}
	}
}

// TestScopesAreWhatWasAsked builds requests from a known set of wishes: every resource must come out with exactly the
// union of its own wishes.
func TestScopesAreWhatWasAsked(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.SampledFrom([]string{"a", "b", "a/b", "host:5000/a", "a.b"})
		action := rapid.SampledFrom([]string{"pull", "push", "delete", "*", "fly", ""})
		wished := map[string][]string{}
		var values []string
		for range rapid.IntRange(0, 8).Draw(t, "scopes") {
			n, actions := name.Draw(t, "name"), rapid.SliceOfN(action, 1, 4).Draw(t, "actions")
			wished[n] = append(wished[n], actions...)
			values = append(values, "repository:"+n+":"+strings.Join(actions, ","))
		}
		if rapid.Bool().Draw(t, "joined") {
			values = []string{strings.Join(values, " ")}
		}
		got, err := ParseScopes(values...)
		if err != nil {
			t.Fatal(err)
		}
		for _, scope := range got {
			if !slices.Equal(scope.Actions, repositoryActions(wished[scope.Name])) {
				t.Fatalf("%s: got %v, wished for %v", scope.Name, scope.Actions, wished[scope.Name])
			}
			delete(wished, scope.Name)
		}
		for n, actions := range wished {
			if len(repositoryActions(actions)) > 0 {
				t.Fatalf("%s is missing: wished for %v", n, actions)
			}
		}
	})
}

func FuzzParseScopes(f *testing.F) {
	f.Add("repository:demo/app:pull,push registry:catalog:*", "repository(plugin):a:*")
	f.Add("repository:host:5000/a:pull", "")
	f.Fuzz(func(t *testing.T, one, two string) {
		scopes, err := ParseScopes(one, two)
		if err != nil {
			return
		}
		again, err := ParseScopes(texts(scopes)...)
		if err != nil && !errors.Is(err, ErrScopeLimit) { // a star grows when it is written out
			t.Fatal(err)
		}
		if err == nil && !cmp.Equal(scopes, again) {
			t.Errorf("%v became %v", scopes, again)
		}
		seen := map[string]bool{}
		for _, scope := range scopes {
			if key := scope.Type + ":" + scope.Name; seen[key] || len(scope.Actions) == 0 {
				t.Errorf("%s is there twice or asks for nothing", key)
			}
			seen[scope.Type+":"+scope.Name] = true
		}
	})
}

// texts is nil for no scopes.
func texts(scopes []Scope) []string {
	if len(scopes) == 0 {
		return nil
	}
	return scopeStrings(scopes)
}
