// Command reference writes docs/api-reference.md from the contract of the product API.
package main

import (
	"cmp"
	"fmt"
	"log"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
)

const page = "../../docs/api-reference.md"

func main() {
	log.SetFlags(0)
	doc, err := openapi3.NewLoader().LoadFromFile("openapi.yaml")
	if err != nil {
		log.Fatal(err)
	}
	if err := os.WriteFile(page, []byte(render(doc)), 0o644); err != nil { //nolint:gosec // a page for everybody
		log.Fatal(err)
	}
}

// operation is one method of one path.
type operation struct {
	method, path string
	item         *openapi3.PathItem
	*openapi3.Operation
}

func render(doc *openapi3.T) string {
	w := &writer{}
	w.line("<!-- Generated from web/openapi/openapi.yaml by go generate ./web/openapi. Do not edit. -->")
	w.line("\n# Reference of the product API\n")
	w.line(paragraph(doc.Info.Description))
	w.line("\n[api.md](api.md) tells what all operations have in common, with examples to paste; [rights.md](rights.md) what `claim`,")
	w.line("`inspect` and the other rights are. Paths begin with `/api/v1`.\n")
	operations := operationsOf(doc)
	for _, tag := range doc.Tags {
		w.line("- [%s](#%s): %s", title(tag.Name), tag.Name, tag.Description)
	}
	w.line("- [Schemas](#schemas): what is sent and answered")
	for _, tag := range doc.Tags {
		w.line("\n## %s\n\n%s", title(tag.Name), tag.Description)
		for _, op := range operations {
			if slices.Contains(op.Tags, tag.Name) {
				w.operation(op)
			}
		}
	}
	w.line("\n## Schemas")
	for _, name := range slices.Sorted(maps.Keys(doc.Components.Schemas)) {
		w.schema(name, doc.Components.Schemas[name].Value)
	}
	return w.String()
}

// operationsOf are all operations, by path and then in the order in which people think of methods.
func operationsOf(doc *openapi3.T) []operation {
	order := []string{"GET", "POST", "PUT", "PATCH", "DELETE"}
	var all []operation
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			all = append(all, operation{method, path, item, op})
		}
	}
	slices.SortFunc(all, func(a, b operation) int {
		return cmp.Or(cmp.Compare(a.path, b.path), cmp.Compare(slices.Index(order, a.method), slices.Index(order, b.method)))
	})
	return all
}

type writer struct{ strings.Builder }

func (w *writer) line(format string, args ...any) {
	if len(args) == 0 {
		w.WriteString(format + "\n")
		return
	}
	_, _ = fmt.Fprintf(w, format+"\n", args...)
}

func (w *writer) operation(op operation) {
	w.line("\n### %s\n", op.Summary)
	access, _ := op.Extensions["x-berth-access"].(string)
	w.line("`%s %s`, for: `%s`\n", op.method, op.path, access)
	if op.Description != "" {
		w.line("%s\n", paragraph(op.Description))
	}
	w.parameters(slices.Concat(op.item.Parameters, op.Parameters))
	if op.RequestBody != nil {
		if name := bodyOf(op.RequestBody.Value.Content); name != "" {
			w.line("Body: %s.\n", name)
		}
	}
	var answers []string
	codes := op.Responses.Map()
	for _, code := range slices.Sorted(maps.Keys(codes)) {
		if code == "default" {
			continue
		}
		text := "**" + code + "**"
		if name := bodyOf(codes[code].Value.Content); name != "" && code < "400" {
			text += " " + name
		}
		answers = append(answers, text)
	}
	w.line("Answers: %s.", strings.Join(answers, ", "))
}

func (w *writer) parameters(all openapi3.Parameters) {
	if len(all) == 0 {
		return
	}
	w.line("| parameter | in | |")
	w.line("|---|---|---|")
	for _, p := range all {
		in := p.Value.In
		if p.Value.Required && in != "path" {
			in += ", required"
		}
		w.line("| `%s` | %s | %s |", p.Value.Name, in, cell(p.Value.Description))
	}
	w.line("")
}

// bodyOf names what a body holds.
func bodyOf(content openapi3.Content) string {
	for _, kind := range slices.Sorted(maps.Keys(content)) {
		if schema := content[kind].Schema; schema != nil {
			if kind != "application/json" && kind != "application/problem+json" {
				return "`" + kind + "`"
			}
			return typeOf(schema)
		}
	}
	return ""
}

func (w *writer) schema(name string, s *openapi3.Schema) {
	w.line("\n### %s\n", name)
	if s.Description != "" {
		w.line("%s\n", paragraph(s.Description))
	}
	properties, required := fields(s)
	if len(properties) == 0 {
		w.line("%s.", describe(s))
		return
	}
	w.line("| field | type | |")
	w.line("|---|---|---|")
	for _, field := range slices.Sorted(maps.Keys(properties)) {
		mark := ""
		if slices.Contains(required, field) {
			mark = "always there. "
		}
		w.line("| `%s` | %s | %s |", field, typeOf(properties[field]), cell(mark+properties[field].Value.Description))
	}
}

// fields are those of a schema and of all that it is made of.
func fields(s *openapi3.Schema) (openapi3.Schemas, []string) {
	all, required := maps.Clone(s.Properties), slices.Clone(s.Required)
	if all == nil {
		all = openapi3.Schemas{}
	}
	for _, part := range s.AllOf {
		more, needed := fields(part.Value)
		maps.Copy(all, more)
		required = append(required, needed...)
	}
	return all, required
}

// typeOf names a type, with a link where it has a name.
func typeOf(ref *openapi3.SchemaRef) string {
	if name, ok := strings.CutPrefix(ref.Ref, "#/components/schemas/"); ok {
		return "[" + name + "](#" + strings.ToLower(name) + ")"
	}
	if len(ref.Value.AllOf) == 1 {
		return typeOf(ref.Value.AllOf[0])
	}
	return describe(ref.Value)
}

func describe(s *openapi3.Schema) string {
	text := "anything"
	if s.Type != nil && len(*s.Type) > 0 {
		text = (*s.Type)[0]
	}
	switch {
	case text == "array" && s.Items != nil:
		text = "list of " + typeOf(s.Items)
	case len(s.Enum) > 0:
		values := make([]string, len(s.Enum))
		for i, value := range s.Enum {
			values[i] = fmt.Sprintf("`%v`", value)
		}
		text = strings.Join(values, ", ")
	case s.Format != "":
		text += " (" + s.Format + ")"
	}
	return text
}

// paragraph joins the lines of a description.
func paragraph(text string) string {
	parts := strings.Split(strings.TrimSpace(text), "\n\n")
	for i, part := range parts {
		parts[i] = strings.Join(strings.Fields(part), " ")
	}
	return strings.Join(parts, "\n\n")
}

// cell is a description within a table.
func cell(text string) string {
	return strings.ReplaceAll(strings.Join(strings.Fields(text), " "), "|", "\\|")
}

func title(name string) string { return strings.ToUpper(name[:1]) + name[1:] }
