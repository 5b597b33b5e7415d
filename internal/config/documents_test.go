package config

import (
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

// others are variables that are no settings of the server: of other sub-commands, of compose, and of a comment.
var others = map[string]bool{
	"BERTH_SERVER": true, "BERTH_TOKEN": true, // the commands for a running server
	"BERTH_IMAGE": true, // the compose file
	"BERTH_PORT":  true, // what Kubernetes would set
}

var named = regexp.MustCompile(`BERTH_[A-Z0-9_]*\*?`)

// TestDocumentsNameSettings: what documents and the files for operators say of settings is about settings that there are.
func TestDocumentsNameSettings(t *testing.T) {
	known := map[string]bool{}
	for _, attr := range attrs(reflect.ValueOf(Default())) {
		known[attr.Key] = true
	}
	if !known["BERTH_ADDR"] || len(known) < 50 {
		t.Fatalf("only %d settings", len(known))
	}
	family := func(prefix string) bool {
		for name := range known {
			if strings.HasPrefix(name, prefix) {
				return true
			}
		}
		return false
	}
	checked := 0
	for _, root := range []string{"../../docs", "../../deploy", "../../README.md", "../../CHANGELOG.md"} {
		err := filepath.WalkDir(root, func(file string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			content, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			for _, name := range named.FindAllString(string(content), -1) {
				checked++
				prefix, wild := strings.CutSuffix(name, "*")
				if wild || strings.HasSuffix(name, "_") { // BERTH_GC_* and BERTH_[A-Z]
					if !family(strings.TrimSuffix(prefix, "_")) {
						t.Errorf("%s: no setting begins with %s", file, prefix)
					}
					continue
				}
				if !known[name] && !others[name] {
					t.Errorf("%s: there is no setting %s", file, name)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if checked < 100 {
		t.Errorf("only %d names were found", checked)
	}
}
