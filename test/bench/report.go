package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// sense says on which side of its bound a figure belongs.
type sense string

const (
	atMost  sense = "<="
	atLeast sense = ">="
	noBound sense = ""
)

// row is one line of the report.
type row struct {
	Name     string  `json:"name"`
	Measured float64 `json:"measured"`
	// Unit is empty for a ratio.
	Unit  string  `json:"unit,omitempty"`
	Sense sense   `json:"sense,omitempty"`
	Bound float64 `json:"bound,omitempty"`
	Holds bool    `json:"holds"`
	// Details are the figures behind the ratio, for people; Figures are the same for programs.
	Details string             `json:"details"`
	Figures map[string]float64 `json:"figures,omitempty"`
	Load    float64            `json:"load"`
	Attempt int                `json:"attempt"`
	// Earlier is what the attempts before this one measured.
	Earlier []float64 `json:"earlier,omitempty"`
}

func (r row) bounded(s sense, bound float64) row {
	r.Sense, r.Bound = s, bound
	r.Holds = s == atMost && r.Measured <= bound || s == atLeast && r.Measured >= bound
	return r
}

func (r row) missed() bool { return r.Sense != noBound && !r.Holds }

func anyMissed(rows []row) bool { return slices.ContainsFunc(rows, row.missed) }

func (r row) verdict() string {
	switch {
	case r.Sense == noBound:
		return "-"
	case r.Holds:
		return "PASS"
	}
	return "FAIL"
}

// results are the rows with what one has to know to compare them with others.
type results struct {
	Date   time.Time `json:"date"`
	GOOS   string    `json:"goos"`
	GOARCH string    `json:"goarch"`
	CPUs   int       `json:"cpus"`
	Rows   []row     `json:"rows"`
}

func newResults() *results {
	return &results{Date: time.Now().UTC().Truncate(time.Second), GOOS: runtime.GOOS, GOARCH: runtime.GOARCH, CPUs: runtime.NumCPU()}
}

func (r *results) add(rows []row) { r.Rows = append(r.Rows, rows...) }

func (r *results) missed() bool { return anyMissed(r.Rows) }

func (r *results) save(file string) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the results: %w", err)
	}
	if err := os.WriteFile(file, append(data, '\n'), 0o644); err != nil { //nolint:gosec // results are no secret
		return fmt.Errorf("save the results: %w", err)
	}
	return nil
}

// print writes the table.
func (r *results) print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprint(t, "case\tmeasured\tbound\tverdict\tload\tdetails\n")
	for _, row := range r.Rows {
		_, _ = fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%.1f\t%s\n",
			row.Name, row.figure(row.Measured), row.bound(), row.verdict(), row.Load, row.Details+row.history())
	}
	if err := t.Flush(); err != nil { // of all the writes before, too
		return fmt.Errorf("print the results: %w", err)
	}
	_, err := fmt.Fprintf(w, "%s/%s, %d CPUs; load is that of the whole machine, these servers and clients included\n",
		r.GOOS, r.GOARCH, r.CPUs)
	return err
}

func (r row) figure(v float64) string {
	if r.Unit == "" {
		return fmt.Sprintf("%.2fx", v)
	}
	return fmt.Sprintf("%.0f %s", v, r.Unit)
}

func (r row) bound() string {
	if r.Sense == noBound {
		return ""
	}
	return string(r.Sense) + " " + r.figure(r.Bound)
}

func (r row) history() string {
	if len(r.Earlier) == 0 {
		return ""
	}
	earlier := make([]string, len(r.Earlier))
	for i, v := range r.Earlier {
		earlier[i] = r.figure(v)
	}
	return " (attempt " + strconv.Itoa(r.Attempt) + "; before: " + strings.Join(earlier, ", ") + ")"
}
