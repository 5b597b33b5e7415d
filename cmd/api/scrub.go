package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/berthregistry/berth/internal/config"
	"github.com/berthregistry/berth/internal/server"
)

type scrubCommand struct {
	Database config.Database `embed:"" group:"Database"`
	Storage  config.Storage  `embed:"" group:"Storage"`
	Log      config.Log      `embed:"" group:"Logging"`

	Fraction     float64         `default:"1" help:"Part of all content that is read, drawn at random: above 0, 1 for all."`
	Rate         config.ByteSize `default:"0" help:"Bytes a second that are read at most, such as 50MiB; 0 for any number."`
	Restart      bool            `help:"Begin anew, also where a scrub was cut off that could be gone on with."`
	ExpectLosses bool            `help:"Go on when the objects of many blobs in a row are missing."`
	Orphans      bool            `help:"Read nothing: only make the next collections look through the objects of all days again for such as have no row."`
	Output       string          `enum:"text,json" default:"text" help:"Form of the output: text or json."`
}

// errDamage ends the command where something is damaged, or could not be read.
var errDamage = errors.New("not all content is whole")

// Run scrubs.
func (c *scrubCommand) Run(p *process) error {
	if err := p.loader.Check(c.Database, c.Storage, c.Log); err != nil {
		return err
	}
	if !(c.Fraction > 0 && c.Fraction <= 1) { // also what is no number
		return usageError{fmt.Errorf("--fraction: %v is not above 0 and up to 1", c.Fraction)}
	}
	if c.Rate < 0 {
		return usageError{fmt.Errorf("--rate: %s is negative", c.Rate)}
	}
	cfg := config.Default()
	cfg.Database, cfg.Storage = c.Database, c.Storage
	options := server.Options{Logger: server.NewLogger(p.stderr, c.Log)}
	if c.Orphans {
		return c.lookForOrphans(p, cfg, options)
	}
	progress := &scrubProgress{to: p.stderr}
	order := server.ScrubOrder{
		Fraction: c.Fraction, Rate: int64(c.Rate), Restart: c.Restart, ExpectLosses: c.ExpectLosses, Progress: progress.tell,
	}
	figures, found, err := server.Scrub(p.ctx, cfg, order, options)
	if p.ctx.Err() != nil {
		return errors.New("the scrub was cut off: berth scrub goes on where it stopped")
	}
	if _, settings := errors.AsType[config.Problems](err); settings || errors.Is(err, server.ErrScrubUnderWay) {
		return err // nothing was done, so there is nothing to report
	}
	if perr := newScrubReport(figures, found).print(p.stdout, c.Output); perr != nil {
		return perr
	}
	if err == nil && (len(found) > 0 || figures.Unread > 0) {
		err = errDamage
	}
	return err
}

func (c *scrubCommand) lookForOrphans(p *process, cfg config.Config, options server.Options) error {
	days, err := server.LookForOrphans(p.ctx, cfg, options)
	if err != nil {
		return err
	}
	if c.Output == "json" {
		return json.NewEncoder(p.stdout).Encode(map[string]int64{"days": days})
	}
	_, err = fmt.Fprintf(p.stdout, "the next collections, by servers or berth gc, look through the objects of %d days again\n", days)
	return err
}

// scrubProgress tells a terminal how far a scrub is.
type scrubProgress struct {
	to    io.Writer
	begun time.Time
	bytes int64 // that others had read before
}

func (s *scrubProgress) tell(p server.ScrubProgress) {
	if s.begun.IsZero() {
		s.begun, s.bytes = time.Now(), p.Figures.Bytes
		if p.Resumed {
			_, _ = fmt.Fprintf(s.to, "berth: going on with a scrub of %g of the content that was cut off\n", p.Fraction)
		}
		return
	}
	rate := float64(p.Figures.Bytes-s.bytes) / max(time.Since(s.begun).Seconds(), 0.001)
	_, _ = fmt.Fprintf(s.to, "berth: passed %d of %d blobs, read %.1f MiB at %.1f MiB/s, %d damaged, %d missing\n",
		p.Figures.Passed, p.Figures.TotalBlobs, float64(p.Figures.Bytes)/(1<<20), rate/(1<<20),
		p.Figures.Damaged+p.Figures.DamagedManifests, p.Figures.Missing)
}

// scrubReport is what the command says.
type scrubReport struct {
	server.ScrubFigures
	Findings []scrubFinding `json:"findings"`
}

type scrubFinding struct {
	Kind    string    `json:"kind"`
	Digest  string    `json:"digest"`
	Size    int64     `json:"size"`
	Object  string    `json:"object,omitempty"`
	Detail  string    `json:"detail"`
	FoundAt time.Time `json:"found_at"`
}

func newScrubReport(figures server.ScrubFigures, found []server.ScrubFinding) scrubReport {
	report := scrubReport{ScrubFigures: figures, Findings: []scrubFinding{}}
	for _, f := range found {
		report.Findings = append(report.Findings, scrubFinding{
			Kind: f.Kind, Digest: string(f.Digest), Size: f.Size, Object: f.Object, Detail: f.Detail, FoundAt: f.FoundAt.UTC(),
		})
	}
	return report
}

func (r scrubReport) print(to io.Writer, form string) error {
	if form == "json" {
		out := json.NewEncoder(to)
		out.SetIndent("", "  ")
		return out.Encode(r)
	}
	columns := tabwriter.NewWriter(to, 0, 8, 2, ' ', tabwriter.AlignRight)
	for _, line := range []struct {
		n    int64
		what string
	}{
		{r.Blobs, fmt.Sprintf("blobs read, of %d", r.TotalBlobs)},
		{r.Manifests, "manifests read"},
		{r.Bytes, "bytes read"},
		{r.Damaged, "blobs are damaged"},
		{r.Missing, "blobs are missing in storage"},
		{r.DamagedManifests, "manifests are damaged"},
		{r.Recovered, "are whole again"},
		{r.Unread, "blobs could not be read"},
	} {
		_, _ = fmt.Fprintf(columns, "%d\t  %s\n", line.n, line.what)
	}
	if err := columns.Flush(); err != nil {
		return err
	}
	for _, f := range r.Findings {
		object := f.Object
		if object != "" {
			object = ", object " + object
		}
		if _, err := fmt.Fprintf(to, "%s %s: %s%s\n", f.Kind, f.Digest, f.Detail, object); err != nil {
			return err
		}
	}
	return nil
}
