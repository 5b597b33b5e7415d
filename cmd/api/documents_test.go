package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/alecthomas/kong"

	"github.com/berthregistry/berth/internal/config"
)

var (
	shellBlock = regexp.MustCompile("(?s)```sh\n(.*?)```")
	// ourCommand is a call of the program: alone, after an assignment, in $( ) or after &&.
	ourCommand = regexp.MustCompile(`(?m)(?:^|\$\(|&& )\s*(?:[A-Z_]+=\S+ )*(?:bin/)?berth ([a-z][^\n|>)&#]*)`)
)

// TestDocumentsCallCommandsThatThereAre parses every call of the program in the documents' shell blocks.
func TestDocumentsCallCommandsThatThereAre(t *testing.T) {
	calls := 0
	parse := func(file string) {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, block := range shellBlock.FindAllStringSubmatch(string(content), -1) {
			text := strings.ReplaceAll(block[1], "\\\n", " ")
			for _, call := range ourCommand.FindAllStringSubmatch(text, -1) {
				calls++
				if err := understood(strings.Fields(strings.NewReplacer("'", "", `"`, "").Replace(call[1]))); err != nil {
					t.Errorf("%s: berth %s: %v", file, call[1], err)
				}
			}
		}
	}
	parse("../../README.md")
	err := filepath.WalkDir("../../docs", func(file string, entry fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(file, ".md") && !entry.IsDir() {
			parse(file)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if calls < 5 {
		t.Errorf("only %d calls were found", calls)
	}
	if understood([]string{"serve", "--no-such-flag"}) == nil || understood([]string{"no-such-command"}) == nil {
		t.Error("everything is understood")
	}
}

// understood parses a command line without running it.
func understood(args []string) error {
	var cli commandLine
	var loader config.Loader
	parser, err := kong.New(&cli, append(loader.Options(), kong.Name("berth"))...)
	if err != nil {
		return err
	}
	_, err = parser.Parse(args)
	return err
}
