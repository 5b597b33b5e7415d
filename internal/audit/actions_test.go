package audit_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"regexp"
	"slices"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestActionsAreDocumented holds the table in docs/audit.md to the constants, in their order.
func TestActionsAreDocumented(t *testing.T) {
	t.Parallel()
	file, err := parser.ParseFile(token.NewFileSet(), "actions.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var actions, documented []string
	ast.Inspect(file, func(node ast.Node) bool {
		if literal, ok := node.(*ast.BasicLit); ok && literal.Kind == token.STRING {
			text, err := strconv.Unquote(literal.Value)
			if err != nil {
				t.Error(err)
			}
			actions = append(actions, text)
		}
		return true
	})
	page, err := os.ReadFile("../../docs/audit.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z_]+\\.[a-z_]+)` \\|").FindAllSubmatch(page, -1) {
		documented = append(documented, string(row[1]))
	}
	if diff := cmp.Diff(actions, documented); diff != "" || len(actions) < 30 {
		t.Errorf("actions and documentation: -code +docs\n%s", diff)
	}
	if sorted := slices.Sorted(slices.Values(actions)); len(slices.Compact(sorted)) != len(actions) {
		t.Error("two actions have one name")
	}
}
