package archtest

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"
)

// document is one page of the documentation.
type document struct {
	path    string // below the module's root
	text    string // without its blocks of code
	anchors map[string]bool
}

var (
	fenced   = regexp.MustCompile("(?s)(?m:^)( *)```.*?\n *```[ \t]*(?m:$)")
	inline   = regexp.MustCompile("`[^`\n]*`")
	link     = regexp.MustCompile(`!?\[[^\]]*\]\(([^)\s]+)\)`)
	heading  = regexp.MustCompile(`(?m)^#{1,6} +(.+?) *$`)
	linkText = regexp.MustCompile(`!?\[([^\]]*)\]\([^)]*\)`)
)

// TestEveryLinkLeadsSomewhere follows the links of all pages within the repository, to files and to headings. Those to
// elsewhere are only read, as tests need no internet.
func TestEveryLinkLeadsSomewhere(t *testing.T) {
	t.Parallel()
	root := moduleRoot(t)
	pages := documents(t, root)
	for _, page := range pages {
		for _, found := range link.FindAllStringSubmatch(page.text, -1) {
			if err := follow(root, pages, page.path, found[1]); err != nil {
				t.Errorf("%s: %s: %v", page.path, found[1], err)
			}
		}
	}
}

// TestEveryPageIsInTheIndex holds docs/README.md to the pages that there are.
func TestEveryPageIsInTheIndex(t *testing.T) {
	t.Parallel()
	pages := documents(t, moduleRoot(t))
	listed := map[string]bool{"docs/README.md": true}
	for _, found := range link.FindAllStringSubmatch(pages["docs/README.md"].text, -1) {
		listed[path.Join("docs", found[1])] = true
	}
	for name := range pages {
		if path.Dir(name) == "docs" && !listed[name] {
			t.Errorf("%s is not in docs/README.md", name)
		}
	}
}

func TestFollow(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	if err := os.WriteFile(filepath.Join(root, "file.txt"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	pages := map[string]document{
		"a.md": read("a.md", "# One `thing`, and more\n## Twice\n## Twice\n```sh\n# no heading\n```\n## [A link](b.md) in it\n"),
	}
	for to, good := range map[string]bool{
		"a.md": true, "#one-thing-and-more": true, "a.md#twice": true, "a.md#twice-1": true, "a.md#a-link-in-it": true,
		"file.txt": true, "https://example.org/x?y#z": true, "a.md#no-heading": false, "#gone": false, "gone.md": false,
		"https://": false, "http://exa mple.org": false, "../file.txt": false, "ftp://example.org": false, "file.txt#part": false,
	} {
		if err := follow(root, pages, "a.md", to); (err == nil) != good {
			t.Errorf("%s: %v", to, err)
		}
	}
}

// documents reads every page.
func documents(t *testing.T, root string) map[string]document {
	t.Helper()
	found := map[string]document{}
	files := os.DirFS(root)
	err := fs.WalkDir(files, ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && ignored(files, name) && name != ".":
			return fs.SkipDir
		case path.Ext(name) != ".md":
			return nil
		}
		content, err := fs.ReadFile(files, name)
		found[name] = read(name, string(content))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func read(name, content string) document {
	text := fenced.ReplaceAllString(content, "")
	d := document{path: name, text: inline.ReplaceAllString(text, ""), anchors: map[string]bool{}}
	for _, found := range heading.FindAllStringSubmatch(text, -1) {
		base := anchor(found[1])
		name := base
		for n := 1; d.anchors[name]; n++ {
			name = fmt.Sprintf("%s-%d", base, n)
		}
		d.anchors[name] = true
	}
	return d
}

// anchor is what GitHub makes of a heading.
func anchor(heading string) string {
	heading = linkText.ReplaceAllString(heading, "$1")
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
			return unicode.ToLower(r)
		}
		return -1
	}, heading)
}

// follow returns an error unless a link of a page leads somewhere.
func follow(root string, pages map[string]document, from, to string) error {
	u, err := url.Parse(to)
	switch {
	case err != nil:
		return fmt.Errorf("no URL: %w", err)
	case u.Scheme == "mailto":
		return nil
	case u.Scheme != "":
		if u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
			return errors.New("not the URL of a page")
		}
		return nil
	}
	target := from
	if u.Path != "" {
		target = path.Join(path.Dir(from), u.Path)
	}
	if target == ".." || strings.HasPrefix(target, "../") {
		return errors.New("leads out of the repository")
	}
	if u.Fragment != "" {
		if !pages[target].anchors[u.Fragment] {
			return errors.New("there is no such heading")
		}
		return nil
	}
	if _, known := pages[target]; known {
		return nil
	}
	if _, err := os.Stat(filepath.Join(root, target)); err != nil {
		return errors.New("there is no such file")
	}
	return nil
}

// TestPicturesAreWellFormed reads every SVG, which has to suit light and dark pages.
func TestPicturesAreWellFormed(t *testing.T) {
	t.Parallel()
	pictures, err := filepath.Glob(filepath.Join(moduleRoot(t), "docs", "images", "*.svg"))
	if err != nil || len(pictures) == 0 {
		t.Fatalf("no pictures: %v", err)
	}
	for _, picture := range pictures {
		content, err := os.ReadFile(picture)
		if err != nil {
			t.Fatal(err)
		}
		decoder := xml.NewDecoder(strings.NewReader(string(content)))
		for err == nil {
			_, err = decoder.Token()
		}
		if !errors.Is(err, io.EOF) {
			t.Errorf("%s: %v", picture, err)
		}
		for _, needed := range []string{"prefers-color-scheme: dark", "<title>"} {
			if !strings.Contains(string(content), needed) {
				t.Errorf("%s: no %q", picture, needed)
			}
		}
	}
}
