package archtest

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// longest is how many lines a source file may have. One that needs more holds more than one idea.
const longest = 600

func TestNoFileIsTooLong(t *testing.T) {
	t.Parallel()
	for _, file := range sources(t) {
		if n := file.lines(); n > longest && !file.test && !file.generated {
			t.Errorf("%s has %d lines, more than %d: split it", file.path, n, longest)
		}
	}
}

// TestNoTestSleepsOrSkips also looks at the helpers of tests, which import package testing.
func TestNoTestSleepsOrSkips(t *testing.T) {
	t.Parallel()
	for _, file := range sources(t) {
		for _, habit := range badHabits(t, file) {
			t.Errorf("%s:%s", file.path, habit)
		}
	}
}

func TestBadHabits(t *testing.T) {
	t.Parallel()
	const content = `package x

import (
	"testing"
	"testing/synctest"
	clock "time"
)

func TestOne(t *testing.T) {
	clock.Sleep(1)
	t.Skip("later")
	words.Skip(2)
	synctest.Test(t, func(t *testing.T) {
		clock.Sleep(1)
		t.SkipNow()
	})
}

func helper(tb testing.TB) { tb.Skipf("%d", 1) }

func TestTwo(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) { t.Skip("this value, not this test") })
	synctest.Test(t, func(t *testing.T) { waitFake(); waitSomewhere() })
	waitSomewhere()
}

func waitFake() { clock.Sleep(1) }

func waitSomewhere() { clock.Sleep(1) }

var _ = func(b *testing.B, f *testing.F) { b.SkipNow(); f.Add(1) }
`
	var lines []string
	for _, habit := range badHabits(t, source{path: "x_test.go", content: []byte(content), test: true}) {
		line, _, _ := strings.Cut(habit, ":")
		lines = append(lines, line)
	}
	if diff := cmp.Diff([]string{"10", "11", "15", "19", "29", "31"}, lines); diff != "" {
		t.Errorf("lines with bad habits: -want +got\n%s", diff)
	}
}

// badHabits returns, as "line: message", the places where a test waits for time to pass or skips itself.
func badHabits(t *testing.T, s source) []string {
	t.Helper()
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, s.path, s.content, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	testing := importedAs(file, "testing")
	if testing == "" && !s.test {
		return nil
	}
	w := &walker{
		testing:  testing,
		clock:    importedAs(file, "time"),
		synctest: importedAs(file, "testing/synctest"),
		report:   func(ast.Node, string) {},
		realTime: map[string]bool{},
	}
	ast.Walk(w, file) // only to fill realTime: which functions are called where the clock is a real one
	var found []string
	w.report = func(node ast.Node, message string) {
		found = append(found, fmt.Sprintf("%d: %s", files.Position(node.Pos()).Line, message))
	}
	ast.Walk(w, file)
	return found
}

// walker goes through a file and knows, at each place, what is in scope there. It is a value for one scope: a function
// literal inside makes another.
type walker struct {
	testing, clock, synctest string // the names of these packages in the file
	report                   func(ast.Node, string)

	// realTime holds the functions of the file that are called in it: true where one call or more is outside
	// synctest.Test, false where every call is inside.
	realTime map[string]bool

	testers []string // parameters that are a *testing.T or one of its kin
	fake    bool     // inside synctest.Test, whose clock is a fake one: sleeping takes no time
}

// Visit implements ast.Visitor.
func (w *walker) Visit(node ast.Node) ast.Visitor {
	switch node := node.(type) {
	case *ast.FuncDecl:
		inner := w.inside(node.Type)
		realTime, called := w.realTime[node.Name.Name]
		inner.fake = called && !realTime
		return inner
	case *ast.FuncLit:
		return w.inside(node.Type)
	case *ast.CallExpr:
		if function, ok := node.Fun.(*ast.Ident); ok {
			w.realTime[function.Name] = w.realTime[function.Name] || !w.fake
		}
		on, method := selected(node)
		switch {
		case on == "":
		case on == w.synctest && method == "Test":
			inner := *w
			inner.fake = true
			return &inner
		case on == w.clock && method == "Sleep" && !w.fake:
			w.report(node, "a test sleeps: wait for what it waits for, or use testing/synctest")
		case slices.Contains([]string{"Skip", "Skipf", "SkipNow"}, method) && slices.Contains(w.testers, on):
			w.report(node, "a test skips itself: let it fail where something is missing")
		}
	}
	return w
}

// inside returns the walker for a function's body: a parameter hides an outer one of the same name.
func (w *walker) inside(function *ast.FuncType) *walker {
	inner := *w
	inner.testers = slices.Clone(w.testers)
	for _, param := range function.Params.List {
		for _, name := range param.Names {
			inner.testers = slices.DeleteFunc(inner.testers, func(outer string) bool { return outer == name.Name })
			if w.isTester(param.Type) {
				inner.testers = append(inner.testers, name.Name)
			}
		}
	}
	return &inner
}

func (w *walker) isTester(kind ast.Expr) bool {
	if pointer, ok := kind.(*ast.StarExpr); ok {
		kind = pointer.X
	}
	selector, ok := kind.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	from, ok := selector.X.(*ast.Ident)
	return ok && from.Name == w.testing && slices.Contains([]string{"T", "B", "F", "TB"}, selector.Sel.Name)
}

// selected returns x and f of a call x.f().
func selected(call *ast.CallExpr) (on, method string) {
	selector, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return "", ""
	}
	ident, ok := selector.X.(*ast.Ident)
	if !ok {
		return "", ""
	}
	return ident.Name, selector.Sel.Name
}

// importedAs returns the name of a package in a file, or "" where the file does not import it.
func importedAs(file *ast.File, path string) string {
	for _, spec := range file.Imports {
		if spec.Path.Value != `"`+path+`"` {
			continue
		}
		if spec.Name != nil {
			return spec.Name.Name
		}
		return path[strings.LastIndex(path, "/")+1:]
	}
	return ""
}
